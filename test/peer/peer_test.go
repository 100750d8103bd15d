package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/api"
)

// upstream is a zone file for the names outside the cluster.
const upstream = `$ORIGIN example.net.
@ 3600 IN SOA ns hostmaster 1 7200 3600 1209600 3600
@ 3600 IN NS ns
ns 3600 IN A 192.0.2.53
www 3600 IN A 192.0.2.80
`

// names are everything that can be asked of Cluster, and neighbours that do not exist.
func names() []string {
	var list []string
	add := func(suffix string, labels ...string) {
		for _, l := range labels {
			list = append(list, l+suffix)
		}
	}
	const zone = "cluster.local."
	add(zone, "", "svc.", "pod.", "dns.", "foo.", "ns.dns.", "dns-version.", "x.dns-version.",
		"ns.svc.", "vacant.svc.", "gone.svc.", "ns.pod.", "gone.pod.", "172-16-0-1.ns.pod.", "x.172-16-0-1.ns.pod.",
		"1-2-3-4.ns.pod.", "blah.ns.pod.", "fd00--11.ns.pod.", "1-2-3-4.gone.pod.")
	for _, service := range []string{"web", "six", "dual", "two", "unnamed", "noports", "hdls", "twins", "idle", "ext", "extin", "extgone", "extip", "gone"} {
		add("."+service+".ns.svc."+zone, "_http._tcp", "_http._udp", "_dns._udp", "_dns-tcp._tcp", "_tcp", "_udp", "http.tcp", "_._",
			"172-16-0-1", "172-16-0-2", "172-16-0-3", "172-16-0-4", "host3", "twin", "fd00-2--b", "a.b.c", "x")
		add(".ns.svc."+zone, service, strings.ToUpper(service))
	}
	add("in-addr.arpa.", "", "10.", "0.0.10.", "1.0.0.10.", "5.0.0.10.", "9.0.0.10.", "1.0.16.172.", "2.0.16.172.",
		"3.0.16.172.", "4.0.16.172.", "1.2.16.172.", "01.0.0.10.", "x.1.0.0.10.", "11.")
	add("ip6.arpa.", "", "d.f.", "1.0.d.f.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.",
		"b.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.",
		"c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.")
	return list
}

var qtypes = []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "MX", "NS", "SOA", "HTTPS", "ANY"}

// TestDifferential asks every name and type of both plugins. Where they differ,
// the difference must be one that we want, and each of those must be seen.
func TestDifferential(t *testing.T) {
	dir := t.TempDir()
	zoneFile := writeZone(t, dir)
	for _, pods := range []string{"disabled", "insecure"} {
		t.Run("pods "+pods, func(t *testing.T) {
			s := api.New(t)
			s.Put(Cluster()...)
			rest := "file " + zoneFile + " example.net"
			theirs := Start(t, "kubernetes", s.URL, "pods "+pods, rest)
			ours := Start(t, "signpost", s.URL, "pods "+pods, rest)
			seen := map[string]int{}
			asked, equal := 0, 0
			for _, name := range names() {
				for _, qtype := range qtypes {
					asked++
					o, p := short(t, ours, name, qtype), short(t, theirs, name, qtype)
					if o.String() == p.String() {
						equal++
						continue
					}
					d := explain(name, qtype, o, p)
					seen[d]++
					if d == "" {
						t.Errorf("%s %s\nours\n%stheirs\n%s", name, qtype, o, p)
					}
				}
			}
			t.Logf("%d queries, %d answered alike, differences by reason: %v", asked, equal, seen)
			for _, d := range deviations {
				if seen[d.id] == 0 && (d.pods == "" || d.pods == pods) {
					t.Errorf("%s was not seen: %s", d.id, d.what)
				}
			}
		})
	}
}

// reply is a message without what may differ freely: order, serial, weights and
// who is named as primary server.
type reply struct {
	rcode         string
	answer, extra []string
	soa           bool
	aa, tc        bool
}

func (r reply) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s soa=%v aa=%v tc=%v\n", r.rcode, r.soa, r.aa, r.tc)
	for _, rr := range r.answer {
		fmt.Fprintf(&b, "  %s\n", rr)
	}
	for _, rr := range r.extra {
		fmt.Fprintf(&b, "  + %s\n", rr)
	}
	return b.String()
}

func (r reply) noData() bool   { return r.rcode == "NOERROR" && len(r.answer) == 0 }
func (r reply) nxDomain() bool { return r.rcode == "NXDOMAIN" && len(r.answer) == 0 }

func short(t *testing.T, s Side, name, qtype string) reply {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.StringToType[qtype])
	q.SetEdns0(4096, false)
	m, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(q, s.UDP)
	if err != nil {
		t.Fatalf("asking %s for %s %s: %v", s.Plugin, name, qtype, err)
	}
	r := reply{rcode: dns.RcodeToString[m.Rcode], aa: m.Authoritative, tc: m.Truncated}
	for _, rr := range m.Ns {
		r.soa = r.soa || rr.Header().Rrtype == dns.TypeSOA
	}
	r.answer, r.extra = texts(m.Answer), texts(m.Extra)
	return r
}

func texts(rrs []dns.RR) []string {
	var list []string
	for _, rr := range rrs {
		switch rr := rr.(type) {
		case *dns.OPT:
			continue
		case *dns.SRV:
			rr.Weight = 0
		case *dns.SOA:
			rr.Serial, rr.Ns, rr.Mbox = 0, "", ""
		}
		list = append(list, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// deviation is a difference that we want, with the number that the plugin's README
// and its tests use.
type deviation struct {
	id, what string
	pods     string // the mode in which it can be seen; empty: any
	holds    func(name, qtype string, ours, theirs reply) bool
}

var deviations = []deviation{
	{"D1", "addresses at _port._protocol names", "", func(n, q string, o, p reply) bool {
		return strings.HasPrefix(n, "_") && (q == "A" || q == "AAAA" || q == "ANY") && (o.noData() || q == "ANY")
	}},
	{"D2", "SRV without underscores", "", func(n, _ string, o, _ reply) bool { return strings.HasPrefix(n, "http.tcp.") && o.nxDomain() }},
	{"D3", "an underscore for any port", "", func(n, _ string, o, _ reply) bool { return strings.HasPrefix(n, "_._.") && o.nxDomain() }},
	{"D15", "other types than PTR at the name of an address", "", func(n, q string, o, p reply) bool {
		return isAddress(n) && q != "PTR" && p.nxDomain() && (o.noData() || q == "ANY")
	}},
	{"D4", "inner nodes exist", "", func(n, q string, o, p reply) bool {
		inner := strings.HasPrefix(n, "_tcp.") || strings.HasPrefix(n, "_udp.") || n == "dns.cluster.local." || strings.HasSuffix(n, ".arpa.")
		return inner && o.noData() && p.nxDomain()
	}},
	{"D5", "SOA of a name that does not exist", "", func(_, q string, o, p reply) bool { return q == "SOA" && o.nxDomain() && p.noData() }},
	{"D7", "a CNAME answers every type, by the rcode of its target", "", func(n, _ string, o, _ reply) bool {
		return strings.HasPrefix(strings.ToLower(n), "ext") && len(o.answer) > 0 && strings.Contains(o.answer[0], "CNAME")
	}},
	{"D9", "TXT at inner nodes, and namespaces below pod", "", func(n, q string, o, p reply) bool {
		return o.noData() && p.nxDomain() && (q == "TXT" || n == "ns.pod.cluster.local." || n == "ns.dns.cluster.local.")
	}},
	{"D12", "other types at dns-version", "", func(n, _ string, o, p reply) bool {
		return n == "dns-version.cluster.local." && (o.noData() && p.nxDomain() || len(o.answer) == 1)
	}},
	{"D13", "labels left of a pod's name", "insecure", func(n, _ string, o, _ reply) bool {
		return strings.HasPrefix(n, "x.172-16-0-1.ns.pod.") && o.nxDomain()
	}},
	{"D14", "SRV of a pod", "insecure", func(n, q string, o, _ reply) bool { return strings.Contains(n, ".pod.") && q == "SRV" && o.noData() }},
	{"D16", "NS of reverse zones", "", func(n, q string, _, _ reply) bool {
		return strings.HasSuffix(n, ".arpa.") && q == "NS" || n == "in-addr.arpa."
	}},
	{"B3", "NS where no Service leads to this server", "", func(n, q string, o, p reply) bool {
		return n == "cluster.local." && q == "NS" && p.noData() && slices.Equal(o.answer, []string{"cluster.local. 5 IN NS ns.dns.cluster.local."})
	}},
	{"ANY", "ANY is answered with one record set (RFC 8482)", "", func(_, q string, o, p reply) bool {
		return q == "ANY" && len(o.answer) > 0 && p.rcode == "NOERROR"
	}},
}

// isAddress reports whether a reverse name spells a whole address.
func isAddress(name string) bool {
	labels := dns.CountLabel(name)
	return strings.HasSuffix(name, ".in-addr.arpa.") && labels == 4+2 || strings.HasSuffix(name, ".ip6.arpa.") && labels == 32+2
}

// explain returns the number of the deviation that a difference is; empty if none.
func explain(name, qtype string, ours, theirs reply) string {
	for _, d := range deviations {
		if d.holds(name, qtype, ours, theirs) {
			return d.id
		}
	}
	return ""
}

// Both follow what changes.
func TestChanges(t *testing.T) {
	s := api.New(t)
	s.Put(Cluster()...)
	theirs, ours := Start(t, "kubernetes", s.URL, "", ""), Start(t, "signpost", s.URL, "", "")
	steps := []struct {
		name string
		do   func()
		q    string
		want string
	}{
		{"created", func() { s.Put(Service("ns", "new", HTTP, "10.0.0.77")) }, "new.ns.svc.cluster.local.", "10.0.0.77"},
		{"changed", func() { s.Put(Service("ns", "new", HTTP, "10.0.0.78")) }, "new.ns.svc.cluster.local.", "10.0.0.78"},
		{"after a cut", func() { s.DropConnections(); s.Put(Service("ns", "new", HTTP, "10.0.0.79")) }, "new.ns.svc.cluster.local.", "10.0.0.79"},
		{"after an expired version", func() {
			s.Refuse(503)
			s.DropConnections()
			s.Put(Service("ns", "new", HTTP, "10.0.0.80"))
			s.Expire()
			s.Refuse(0)
		}, "new.ns.svc.cluster.local.", "10.0.0.80"},
		{"deleted", func() { s.Delete(Service("ns", "new", HTTP, "10.0.0.80")) }, "new.ns.svc.cluster.local.", "NXDOMAIN"},
	}
	for _, step := range steps {
		step.do()
		for _, side := range []Side{ours, theirs} {
			deadline := time.Now().Add(60 * time.Second)
			for {
				r := short(t, side, step.q, "A")
				if strings.Contains(r.String(), step.want) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s: %s still says\n%s", step.name, side.Plugin, r)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
}

func writeZone(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "example.net.zone")
	if err := os.WriteFile(path, []byte(upstream), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
