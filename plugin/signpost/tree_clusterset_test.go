package signpost

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func importedSlice(namespace, service, id string, eps ...cluster.Endpoint) *cluster.ImportedSlice {
	s := slice(namespace, service, service+"-"+id, http8080, eps...)
	s.Cluster = cluster.MakeAtom(id)
	return &cluster.ImportedSlice{Slice: s}
}

// clustersetPlugged serves cluster.local and clusterset.local, with two imports and
// the Services of the fixture, one of which has the name of an import.
func clustersetPlugged() *Signpost {
	store := fixture()
	store.Put(9,
		&cluster.ServiceImport{Service: service("ns", "web", nil, "10.42.0.1", "fd00:42::1")},
		importedSlice("ns", "web", "east", ready("10.43.0.9", "")),
		&cluster.ServiceImport{Service: service("ns", "db", nil)},
		importedSlice("ns", "db", "east", ready("10.43.0.1", "db-0"), ready("10.43.0.2", ""), unready("10.43.0.3")),
		importedSlice("ns", "db", "west", ready("10.44.0.1", "db-0"), ready("fd00:44::2", "")),
		&cluster.ServiceImport{Service: service("far", "idle", nil)},
		importedSlice("far", "idle", "west", unready("10.44.0.7")),
	)
	return plugged(store, func(s *Signpost) {
		zones, primary := makeZones([]string{"cluster.local.", "clusterset.local.", "in-addr.arpa.", "ip6.arpa."})
		markClusterset(zones, []string{"clusterset.local."})
		s.zones, s.primary, s.clusterset = zones, primary, []string{"clusterset.local."}
	})
}

// clustersetQueries are names below clusterset.local. unless they end in a dot.
var clustersetQueries = []query{
	{"web.ns.svc", "A", records("web.ns.svc.clusterset.local. 5 IN A 10.42.0.1")},
	{"web.ns.svc", "AAAA", records("web.ns.svc.clusterset.local. 5 IN AAAA fd00:42::1")},
	{"web.ns.svc", "TXT", noData()},
	{"_http._tcp.web.ns.svc", "SRV", records("_http._tcp.web.ns.svc.clusterset.local. 5 IN SRV 0 100 80 web.ns.svc.clusterset.local.").
		with("web.ns.svc.clusterset.local. 5 IN A 10.42.0.1", "web.ns.svc.clusterset.local. 5 IN AAAA fd00:42::1")},
	{"_tcp.web.ns.svc", "A", noData()},
	{"east.web.ns.svc", "A", nxDomain()}, // specification §2.3.4
	{"10-43-0-9.east.web.ns.svc", "A", nxDomain()},
	{"10-43-0-9.web.ns.svc", "A", nxDomain()},

	{"db.ns.svc", "A", records("db.ns.svc.clusterset.local. 5 IN A 10.43.0.1", "db.ns.svc.clusterset.local. 5 IN A 10.43.0.2", "db.ns.svc.clusterset.local. 5 IN A 10.44.0.1")},
	{"db.ns.svc", "AAAA", records("db.ns.svc.clusterset.local. 5 IN AAAA fd00:44::2")},
	{"db-0.east.db.ns.svc", "A", records("db-0.east.db.ns.svc.clusterset.local. 5 IN A 10.43.0.1")},
	{"DB-0.West.db.ns.svc", "A", records("DB-0.West.db.ns.svc.clusterset.local. 5 IN A 10.44.0.1")},
	{"db-0.east.db.ns.svc", "AAAA", noData()},
	{"db-0.east.db.ns.svc", "SRV", records("db-0.east.db.ns.svc.clusterset.local. 5 IN SRV 0 100 8080 db-0.east.db.ns.svc.clusterset.local.").
		with("db-0.east.db.ns.svc.clusterset.local. 5 IN A 10.43.0.1")},
	{"10-43-0-2.east.db.ns.svc", "A", records("10-43-0-2.east.db.ns.svc.clusterset.local. 5 IN A 10.43.0.2")},
	{"10-43-0-2.west.db.ns.svc", "A", nxDomain()},
	{"10-43-0-3.east.db.ns.svc", "A", nxDomain()}, // not ready
	{"db-0.db.ns.svc", "A", nxDomain()},
	{"east.db.ns.svc", "A", noData()},
	{"north.db.ns.svc", "A", nxDomain()},
	{"x.db-0.east.db.ns.svc", "A", nxDomain()},
	{"_http._tcp.east.db.ns.svc", "SRV", nxDomain()},
	{"_http._tcp.db.ns.svc", "SRV", records(
		"_http._tcp.db.ns.svc.clusterset.local. 5 IN SRV 0 25 8080 10-43-0-2.east.db.ns.svc.clusterset.local.",
		"_http._tcp.db.ns.svc.clusterset.local. 5 IN SRV 0 25 8080 db-0.east.db.ns.svc.clusterset.local.",
		"_http._tcp.db.ns.svc.clusterset.local. 5 IN SRV 0 25 8080 db-0.west.db.ns.svc.clusterset.local.",
		"_http._tcp.db.ns.svc.clusterset.local. 5 IN SRV 0 25 8080 fd00-44--2.west.db.ns.svc.clusterset.local.",
	).with(
		"10-43-0-2.east.db.ns.svc.clusterset.local. 5 IN A 10.43.0.2",
		"db-0.east.db.ns.svc.clusterset.local. 5 IN A 10.43.0.1",
		"db-0.west.db.ns.svc.clusterset.local. 5 IN A 10.44.0.1",
		"fd00-44--2.west.db.ns.svc.clusterset.local. 5 IN AAAA fd00:44::2",
	)},
	{"idle.far.svc", "A", nxDomain()},
	{"ns.svc", "A", noData()},
	{"vacant.svc", "A", noData()},
	{"far.svc", "A", noData()}, // only imports live there
	{"gone.svc", "A", nxDomain()},
	{"hdls.ns.svc", "A", nxDomain()}, // of this cluster alone
	{"pod", "A", nxDomain()},
	{"dns-version", "TXT", records(`dns-version.clusterset.local. 28800 IN TXT "1.0.0"`)},
	{"clusterset.local.", "SOA", records("clusterset.local. 5 IN SOA ns.dns.clusterset.local. hostmaster.clusterset.local. 9 7200 1800 86400 5")},
	{"ns.dns", "A", records("ns.dns.clusterset.local. 5 IN A 10.0.0.10")},

	{"web.ns.svc.cluster.local.", "A", records("web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"dns-version.cluster.local.", "TXT", records(`dns-version.cluster.local. 28800 IN TXT "1.1.0"`)},
	{"1.0.42.10.in-addr.arpa.", "PTR", records("1.0.42.10.in-addr.arpa. 5 IN PTR web.ns.svc.clusterset.local.")},
	{"1.0.43.10.in-addr.arpa.", "PTR", records("1.0.43.10.in-addr.arpa. 5 IN PTR db-0.east.db.ns.svc.clusterset.local.")},
	{"3.0.43.10.in-addr.arpa.", "PTR", nxDomain()},
	{"9.0.43.10.in-addr.arpa.", "PTR", nxDomain()}, // behind an address of the set
	{"43.10.in-addr.arpa.", "PTR", noData()},
	{"1.0.0.10.in-addr.arpa.", "PTR", records("1.0.0.10.in-addr.arpa. 5 IN PTR web.ns.svc.cluster.local.")},
}

func TestClusterset(t *testing.T) {
	checkQueries(t, clustersetPlugged(), "clusterset.local.", clustersetQueries)
}

// The zone of the set is transferred as it is answered.
func TestClustersetTransfer(t *testing.T) {
	s := clustersetPlugged()
	for _, zone := range []string{"clusterset.local.", "in-addr.arpa."} {
		list := transferred(t, s, zone, 0)
		for i, text := range list {
			if i > 0 && text == list[i-1] && !strings.Contains(text, " SOA ") {
				t.Errorf("%s: twice: %s", zone, text)
			}
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			if m, _ := ask(t, s, rr.Header().Name, rr.Header().Rrtype); !slices.Contains(plain(m.Answer), text) {
				t.Errorf("%s: %s is not the answer to a query: %v", zone, text, m.Answer)
			}
		}
		for _, q := range clustersetQueries {
			for _, text := range q.want.answer {
				text = strings.NewReplacer(" SRV 0 25 ", " SRV 0 0 ", " SRV 0 100 ", " SRV 0 0 ").Replace(text)
				if strings.HasSuffix(strings.Fields(text)[0], zone) && !strings.HasPrefix(text, "DB-0.West") && !slices.Contains(list, text) {
					t.Errorf("%s is not in the zone %s", text, zone)
				}
			}
		}
	}
}

// From a folder, in a whole server: with metadata, and beside a Service whose slice
// is also one of the import.
func TestClustersetServer(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "set.yaml"), `
{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {name: db, namespace: shop}, spec: {type: Headless, ports: [{name: sql, port: 5432}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: derived, namespace: shop}, spec: {clusterIP: None}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-east
  namespace: shop
  labels: {kubernetes.io/service-name: derived, multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: east}
addressType: IPv4
endpoints: [{addresses: [10.43.0.1], hostname: db-0}]
ports: [{name: sql, port: 5432}]
`)
	i := start(t, fmt.Sprintf(`.:0 {
 bind 127.0.0.1
 signpost clusterset.local cluster.local in-addr.arpa {
  manifests %s
  multicluster clusterset.local
 }
}`, dir))
	defer stop(t, i)
	for qname, want := range map[string]string{
		"db.shop.svc.clusterset.local.":           "10.43.0.1",
		"db-0.east.db.shop.svc.clusterset.local.": "10.43.0.1",
		"db-0.derived.shop.svc.cluster.local.":    "10.43.0.1",
	} {
		if got := answers(exchange(t, i, 0, question1(qname, dns.TypeA))); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", qname, got)
		}
	}
	// The address has a name in this cluster, which goes first.
	if got := answers(exchange(t, i, 0, question1("1.0.43.10.in-addr.arpa.", dns.TypePTR))); !strings.HasSuffix(got, "PTR db-0.derived.shop.svc.cluster.local.") {
		t.Errorf("PTR: %q", got)
	}
}

func TestPartsOfClusterset(t *testing.T) {
	for name, want := range map[string]parts{
		"db-0.east.db.ns.svc":   {kind: "svc", namespace: "ns", service: "db", cluster: "east", endpoint: "db-0"},
		"_http._tcp.db.ns.svc":  {kind: "svc", namespace: "ns", service: "db", port: "http", protocol: "tcp"},
		"http._tcp.db.ns.svc":   {kind: "svc", namespace: "ns", service: "db", port: "http", protocol: "tcp"},
		"x.pin._zone.db.ns.svc": {},
		"east.db.ns.svc":        {kind: "svc", namespace: "ns", service: "db", endpoint: "east"},
	} {
		if got, err := parseParts(name, true, true); got != want || (err != nil) != (want == parts{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
