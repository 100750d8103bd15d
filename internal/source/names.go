package source

import (
	"net/netip"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// isLabel reports whether s is a DNS label by the rules of the API: RFC 1123, lower case.
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

// isSubdomain reports whether s is a name by the rules of the API for most objects: labels of
// RFC 1123, lower case, separated by dots.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") { // the API limits only the total length
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

// isLabelValue reports whether s is a valid value of a label, as zones are.
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

// isTarget reports whether s, without a final dot, can be the target of a CNAME. It accepts
// more than the API, because upper case and `_` are legal in the DNS (RFC 2181 §11), and less,
// because the API accepts IPv4 addresses, which are not host names.
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

// largestPool limits the pool. Beyond it the pool starts empty, so that names of deleted
// objects do not stay forever; a cluster has fewer names at a time.
const largestPool = 1 << 14

// pool keeps one copy of strings that many objects repeat and that no cluster.Atom
// holds: namespaces and port names. A canonical copy from package unique would disappear
// with the next garbage collection, because nothing keeps its handle.
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
// namespace are valid. The name of a Service or Namespace must be a DNS label, because it is
// part of DNS names; the name of a slice, pod or node only identifies the object.
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
