package signpost

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// explanation asks for the lines about a name, fully qualified.
func explanation(t testing.TB, s *Signpost, name string) []string {
	t.Helper()
	m, _ := ask(t, s, "_why."+name, dns.TypeTXT)
	if m == nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 || m.Answer[0].Header().Ttl != 0 {
		t.Fatalf("_why.%s: %v", name, m)
	}
	return m.Answer[0].(*dns.TXT).Txt
}

// sharedAddress adds a Service of three pods with one address.
func sharedAddress(s *Signpost) {
	at := func(hostname, node string, c cluster.Conditions) cluster.Endpoint {
		ep := ready("172.16.6.1", hostname)
		ep.Node, ep.Conditions = cluster.MakeAtom(node), c
		return ep
	}
	s.store.Put(7, service("ns", "store", nil), slice("ns", "store", "store-1", http8080,
		at("store-0", "n1", cluster.Terminating), at("store-1", "n2", cluster.Ready), at("store-2", "", 0)))
}

// withOutside adds a zone for clients outside the cluster.
func withOutside(s *Signpost) {
	s.outside.zones = []string{"example.org."}
	s.zones = addOutside(s.zones, &s.outside)
}

// withClusterset adds a zone of a set of clusters.
func withClusterset(s *Signpost) {
	set := clustersetPlugged()
	s.store, s.zones, s.primary, s.clusterset = set.store, set.zones, set.primary, set.clusterset
}

func TestWhy(t *testing.T) {
	const zone = ".cluster.local."
	many := service("ns", "many", nil)
	reached := map[miss]bool{} // by a row
	for _, tt := range []struct {
		name   string
		change func(*Signpost)
		says   []string // parts of lines, in order
	}{
		{"web.ns.svc" + zone, nil, []string{"web.ns.svc.cluster.local. is a Service with an address of its own", "service ns/web resourceVersion 0: 1 addresses, 1 ports, 1 of 2 endpoints ready", "endpointslice ns/web-1 resourceVersion 1: 1 of 2", "index at resourceVersion 7, synced, confirmed 5s ago"}},
		{"WEB.ns.svc" + zone, nil, []string{"is a Service with"}},
		{"hdls.ns.svc" + zone, nil, []string{"headless Service", "service ns/hdls", "endpointslice ns/hdls-1 resourceVersion 1: 2 of 3", "endpointslice ns/hdls-6"}},
		{"many.ns.svc" + zone, func(s *Signpost) {
			s.store.Put(9, many)
			for i := range 8 {
				s.store.Put(9, slice("ns", "many", fmt.Sprint("many-", i), http8080, cluster.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 9, 9, byte(i)}), Conditions: cluster.Ready}))
			}
		}, []string{"headless", "8 of 8", "many-5", "and 2 more endpointslices", "index at resourceVersion 9"}},
		{"ext.ns.svc" + zone, nil, []string{"ExternalName: CNAME", "service ns/ext"}},
		{"_http._tcp.web.ns.svc" + zone, nil, []string{"a port of a Service: SRV", "service ns/web"}},
		{"host3.hdls.ns.svc" + zone, nil, []string{"an endpoint of a Service"}},
		{"ns.svc" + zone, nil, []string{"an inner node"}},
		{"cluster.local.", nil, []string{"the top of the zone"}},
		{"ns.dns" + zone, nil, []string{"the name of this server"}},
		{"1.0.16.172.in-addr.arpa.", nil, []string{"an address: PTR", "service ns/web"}},
		{"172-16-0-1.ns.pod" + zone, func(s *Signpost) { s.pods = podsVerified }, []string{"the address of a pod", "pod ns/p"}},
		{"1-2-3-4.ns.pod" + zone, func(s *Signpost) { s.pods = podsInsecure }, []string{"the address of a pod", "pods insecure"}},
		{"_why.web.ns.svc" + zone, nil, []string{"an explanation"}},

		{"gone.ns.svc" + zone, nil, []string{`gone.ns.svc.cluster.local. does not exist: no Service "gone" is in the namespace "ns"`, "index at"}},
		{"cart.ns.svc" + zone, func(s *Signpost) { s.store.Put(9, service("shop", "cart", nil), service("depot", "cart", nil)) }, []string{
			`no Service "cart" is in the namespace "ns" (or selected by the stanza's options); one of this name is in depot, shop`,
		}},
		{"cart.ns.svc" + zone, func(s *Signpost) {
			for i := range 5 {
				s.store.Put(9, service(fmt.Sprint("shop-", i), "cart", nil))
			}
		}, []string{"; one of this name is in shop-", ", shop-", ", shop-", ", and more"}},
		{"web.nons.svc" + zone, nil, []string{`no namespace "nons" is there`}},
		{"idle.ns.svc" + zone, nil, []string{"headless Service ns/idle has no ready endpoint (1 that are not, in 1 endpointslices)"}},
		{"x.idle.ns.svc" + zone, nil, []string{"headless Service ns/idle has no ready endpoint"}},
		{"pending.ns.svc" + zone, nil, []string{"Service ns/pending has no ClusterIP yet"}},
		{"extnone.ns.svc" + zone, nil, []string{"the externalName of Service ns/extnone is no DNS name"}},
		{"x.ext.ns.svc" + zone, nil, []string{"Service ns/ext is an ExternalName, which has nothing below it"}},
		{"six.ns.svc" + zone, func(s *Signpost) { s.ignoreEmpty = true }, []string{"no endpoint of ns/six is ready, and ignore empty_service"}},
		{"_https._tcp.web.ns.svc" + zone, nil, []string{"Service ns/web has no such port; with names it has: _http._tcp"}},
		{"_tcp.unnamed.ns.svc" + zone, nil, []string{"no such port; with names it has: none"}},
		{"_dns._udp.hdls.ns.svc" + zone, nil, []string{"with names it has: _http._tcp"}},
		{"a.b.web.ns.svc" + zone, nil, []string{`there is nothing: "a"`}},
		{"db.hdls.ns.svc" + zone, nil, []string{`no endpoint of Service ns/hdls is called "db"; ready ones: 172-16-0-2, host3`}},
		{"172-16-0-4.hdls.ns.svc" + zone, nil, []string{"of Service ns/hdls, endpoint 172.16.0.4 is not ready"}},
		{"store.ns.svc" + zone, sharedAddress, []string{"1 of 3 endpoints ready", "endpoint 172.16.6.1 store-0 on n1 is not ready, terminates", "endpoint 172.16.6.1 store-1 on n2 is ready", "endpoint 172.16.6.1 store-2 is not ready"}},
		{"store-1.store.ns.svc" + zone, sharedAddress, []string{"an endpoint", "endpoint 172.16.6.1 store-1 on n2 is ready", "index"}},
		{"store-0.store.ns.svc" + zone, sharedAddress, []string{"of Service ns/store, endpoint 172.16.6.1 store-0 on n1 is not ready, terminates"}},
		{"x.pin.y._zone.hdls.ns.svc" + zone, func(s *Signpost) { s.zonal = true }, []string{"pin and prefer"}},
		{"1-2-3-4.ns.pod" + zone, nil, []string{"pods disabled"}},
		{"1-2-3-4.ns.pod" + zone, func(s *Signpost) { s.pods = podsVerified }, []string{`no running pod in the namespace "ns" has the address 1.2.3.4`}},
		{"x.ns.pod" + zone, func(s *Signpost) { s.pods = podsVerified }, []string{`"x" is no address with dashes`}},
		{"1-2-3-4.nons.pod" + zone, nil, []string{`no namespace "nons"`}},
		{"nons.svc" + zone, nil, []string{`no namespace "nons" is there`}},
		{"x.dns" + zone, nil, []string{`dns and dns-version, and no "x.dns"`}},
		{`a\.b.svc` + zone, nil, []string{"no name of Kubernetes has such a byte"}},
		{"gone.ns.example.org.", withOutside, []string{"clients outside the cluster see SERVICE.NAMESPACE"}},
		{"gone.ns.svc.clusterset.local.", withClusterset, []string{`no Service "gone" is in the namespace "ns"`}},
		{"east.web.ns.svc.clusterset.local.", withClusterset, []string{`Service ns/web is not headless, or has no ready endpoint in a cluster "east"; it has slices of: east`}},
		{"db-0.east.db.ns.svc.clusterset.local.", withClusterset, []string{"an endpoint of a Service", "service ns/db", "endpointslice ns/db-east ", "endpoint 10.43.0.1 db-0 is ready\nindex"}},
		{"db-1.east.db.ns.svc.clusterset.local.", withClusterset, []string{`no endpoint of Service ns/db is called "db-1"; ready ones: db-0, 10-43-0-2`}},
		{"www.example.com" + zone, nil, []string{`below a zone there are svc, pod, dns and dns-version, and no "com"`}},
		{"9.9.9.9.in-addr.arpa.", nil, []string{"9.9.9.9 is no ClusterIP and no ready endpoint"}},
		{"9.in-addr.arpa.", nil, []string{"no address in 9.0.0.0/8"}},
		{"x.in-addr.arpa.", nil, []string{"spells no address"}},
		{"1.0.16.172.in-addr.arpa.", func(s *Signpost) { s.ptr = ptrServices }, []string{"the option ptr gives endpoints like 172.16.0.1 no name"}},
		{"gone.ns.svc" + zone, func(s *Signpost) { s.next, s.fall = test.ErrorHandler(), fall.Root }, []string{"does not exist", "goes on to the next plugin"}},
	} {
		s := plugged(fixture(), func(s *Signpost) {
			s.why = true
			s.heard = func() time.Time { return time.Now().Add(-5 * time.Second) }
		})
		if tt.change != nil {
			tt.change(s)
		}
		q := s.newQuestion(tt.name, dns.TypeA)
		if n := s.find(&q); n.kind == missing {
			reached[n.miss] = true
		}
		got := explanation(t, s, tt.name)
		all, at := strings.Join(got, "\n"), 0
		for _, want := range tt.says {
			i := strings.Index(all[at:], want)
			if i < 0 {
				t.Errorf("%s: want %q in\n%s", tt.name, want, all)
				break
			}
			at += i
		}
		if m, _ := ask(t, s, "_why."+tt.name, dns.TypeA); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 {
			t.Errorf("%s: other types are not NODATA: %v", tt.name, m)
		}
	}
	for m := range misses {
		if !reached[m] {
			t.Errorf("no row reaches reason %d why a name does not exist", m)
		}
	}
}

// Without the option such names are like any other.
func TestWhyIsOff(t *testing.T) {
	if m, _ := ask(t, plugged(fixture(), nil), "_why.web.ns.svc.cluster.local.", dns.TypeTXT); m.Rcode != dns.RcodeNameError {
		t.Error(m)
	}
}

// An explanation never tells another story than the answer, for every name of the
// behaviour tests' cluster and for names near to them; and it can be packed.
func TestWhyAgrees(t *testing.T) {
	s := plugged(fixture(), func(s *Signpost) { s.why, s.zonal, s.pods = true, true, podsVerified })
	labels := []string{"web", "hdls", "idle", "ext", "pending", "_http", "_tcp", "_udp", "host3", "172-16-0-2", "172-16-0-4", "ns", "nons", "svc", "pod", "dns", "_zone", "pin", `a\.b`, strings.Repeat("x", 63)}
	var names []string
	for _, a := range labels {
		for _, b := range labels {
			for _, tail := range []string{"", ".ns.svc", ".web.ns.svc", ".hdls.ns.svc", ".ns.pod"} {
				names = append(names, a+"."+b+tail+".cluster.local.")
			}
		}
	}
	for _, name := range names {
		m, _ := ask(t, s, name, dns.TypeA)
		lines := explanation(t, s, name)
		if absent := strings.Contains(lines[0], " does not exist: "); absent != (m.Rcode == dns.RcodeNameError) {
			t.Errorf("%s: rcode %d, and %q", name, m.Rcode, lines)
		}
		e, _ := ask(t, s, "_why."+name, dns.TypeTXT)
		if _, err := e.Pack(); err != nil || slices.ContainsFunc(lines, func(l string) bool { return len(l) > 255 }) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryNodeHasWords(t *testing.T) {
	for k := missing + 1; k < nodeKinds; k++ {
		if nodeWords[k] == "" {
			t.Errorf("no words for kind %d", k)
		}
	}
}
