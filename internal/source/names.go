package source

import (
	"net/netip"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// isLabel reports whether s is a DNS label as the API has it: RFC 1123, in lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isSubdomain reports whether s is a name as the API has it for most objects: labels of
// RFC 1123, in lower case, with dots between them.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") { // the API bounds the whole only
		for len(part) > 63 {
			if !isLabel("a" + part[:61] + "a") {
				return false
			}
			part = part[61:]
		}
		if !isLabel(part) {
			return false
		}
	}
	return true
}

// isLabelValue reports whether s is the value of a label, as zones are.
func isLabelValue(s string) bool {
	if len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' && s[i] != '_' && s[i] != '.' {
			return false
		}
	}
	return true
}

// isTarget reports whether s, without a final dot, can be the target of a CNAME. Wider
// than what the API takes in that upper case and `_` are legal in the DNS (RFC 2181 §11),
// and narrower in that the API lets IPv4 addresses pass, which no name server has.
func isTarget(s string) bool {
	if _, err := netip.ParseAddr(withoutLeadingZeros(s)); err == nil || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return true
}

// largestPool is when the pool starts anew: a cluster has fewer names at a time,
// and names of objects long gone shall not stay for ever.
const largestPool = 1 << 14

// pool keeps one copy of strings that many objects repeat and no cluster.Atom
// holds: namespaces and port names. A canonical copy by package unique would go
// with the next garbage collection, because nobody keeps its handle.
type pool struct {
	mu     sync.Mutex
	byText map[string]string
}

var names = pool{byText: map[string]string{}}

// intern returns the shared copy of s.
func (p *pool) intern(s string) string {
	if s == "" {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if shared, ok := p.byText[s]; ok {
		return shared
	}
	if len(p.byText) >= largestPool {
		p.byText = map[string]string{}
	}
	s = strings.Clone(s)
	p.byText[s] = s
	return s
}

// identified starts the findings of an object and reports whether its name and
// namespace can be used at all. The name of a Service or Namespace is a label of
// DNS names; that of a slice, pod or node only tells it from others.
func identified(kind cluster.Kind, m *metav1.ObjectMeta) (f findings, ok bool) {
	f.ref = cluster.Ref{Kind: kind, Key: cluster.Key{Name: strings.Clone(m.Name)}}
	namespaced := kind.Namespaced()
	if namespaced {
		f.ref.Key.Namespace = names.intern(m.Namespace)
	}
	switch isName := kind == cluster.KindService || kind == cluster.KindServiceImport || kind == cluster.KindNamespace; {
	case isName && !isLabel(m.Name):
		f.add(m.Name, wantLabel, "metadata.name")
	case !isName && !isSubdomain(m.Name):
		f.add(m.Name, wantName, "metadata.name")
	}
	if namespaced && !isLabel(m.Namespace) {
		f.add(m.Namespace, wantLabel, "metadata.namespace")
	}
	return f, f.list == nil
}
