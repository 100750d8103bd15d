package peer

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/test/api"
)

func imported(name string, ports []mcsv1alpha1.ServicePort, ips ...string) *mcsv1alpha1.ServiceImport {
	kind := mcsv1alpha1.ClusterSetIP
	if len(ips) == 0 {
		kind = mcsv1alpha1.Headless
	}
	return &mcsv1alpha1.ServiceImport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec:       mcsv1alpha1.ServiceImportSpec{Type: kind, IPs: ips, Ports: ports},
	}
}

func importedSlice(name, from string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := Slice("ns", name, from, 8080, discoveryv1.AddressTypeIPv4, endpoints...)
	s.Labels = map[string]string{mcsv1alpha1.LabelServiceName: name, mcsv1alpha1.LabelSourceCluster: from}
	return s
}

// clustersetDeviations are where we differ from the peer in a zone of a set of clusters.
var clustersetDeviations = []struct {
	id, what string
	holds    func(name, qtype string, ours, theirs reply) bool
}{
	{"B13", "an import without ports does not exist", func(n, _ string, o, p reply) bool {
		return n == "bare.ns.svc."+zone && p.nxDomain() && !o.nxDomain()
	}},
	{"M1", "endpoints below an import with an address", func(n, _ string, o, p reply) bool {
		return strings.HasSuffix(n, "east.web.ns.svc."+zone) && o.nxDomain()
	}},
	{"M2", "reverse names of imports are not there", func(n, _ string, o, p reply) bool {
		return strings.HasSuffix(n, ".arpa.") && p.nxDomain() && (len(o.answer) == 1 || o.noData())
	}},
	{"M3", "dns-version is that of the cluster's names", func(n, _ string, o, p reply) bool {
		return n == "dns-version."+zone
	}},
	{"M4", "pod exists, although no pod has a name there", func(n, _ string, o, p reply) bool {
		return strings.HasSuffix(n, "pod."+zone) && o.nxDomain()
	}},
	{"D5", "SOA of a name that does not exist is NODATA", func(_, q string, o, p reply) bool { return q == "SOA" && o.nxDomain() }},
	{"D1", "addresses at _port._protocol names", func(n, q string, o, p reply) bool {
		return strings.HasPrefix(n, "_") && (q == "A" || q == "AAAA") && o.noData()
	}},
	{"B11", "a reverse name of an imported endpoint that nobody can read", func(n, _ string, o, p reply) bool {
		return strings.HasPrefix(p.rcode, "no answer") && len(o.answer) == 1
	}},
	{"B3", "NS where no Service leads to this server", func(n, q string, o, _ reply) bool { return n == zone && q == "NS" }},
	{"D4", "names that only have names below them, and TXT", func(_, _ string, o, p reply) bool { return o.noData() && p.nxDomain() }},
}

// TestClustersetBesideKubernetes asks both about ServiceImports; the zone is cluster.local,
// which is theirs alone then.
func TestClustersetBesideKubernetes(t *testing.T) {
	s := api.New(t)
	s.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vacant"}})
	ports := []mcsv1alpha1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	s.Put(
		imported("web", ports, "10.42.0.1", "fd00:42::1"), importedSlice("web", "east", Endpoint(true, "", "10.43.0.9")),
		imported("bare", nil, "10.42.0.2"),
		imported("db", ports), importedSlice("db", "east", Endpoint(true, "db-0", "10.43.0.1"), Endpoint(false, "db-1", "10.43.0.2")),
		importedSlice("db", "west", Endpoint(true, "db-0", "10.44.0.1"), Endpoint(true, "", "10.44.0.2")),
		Service("ns", "local", HTTP, "10.0.0.1"),
	)
	ours := Start(t, "signpost", s.URL, "multicluster cluster.local", "")
	theirs := Start(t, "kubernetes", s.URL, "multicluster cluster.local", "")
	whole := func(side Side) bool {
		r := exchange(t, side, query{name: "db.ns.svc." + zone, qtype: "A", size: 4096})
		return len(r.answer) == 3 && len(exchange(t, side, query{name: "web.ns.svc." + zone, qtype: "A", size: 4096}).answer) == 1
	}
	for deadline := time.Now().Add(60 * time.Second); !whole(ours) || !whole(theirs); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not both have all imports within a minute")
		}
	}
	names := []string{
		zone, "svc." + zone, "pod." + zone, "1-2-3-4.ns.pod." + zone, "ns.svc." + zone, "vacant.svc." + zone, "gone.svc." + zone, "gone.ns.svc." + zone,
		"local.ns.svc." + zone, "DB.ns.SVC." + zone, "dns-version." + zone, "1.0.42.10.in-addr.arpa.", "1.0.43.10.in-addr.arpa.", "7.0.43.10.in-addr.arpa.",
	}
	for _, service := range []string{"web", "db", "bare"} {
		for _, label := range []string{"", "_http._tcp.", "_tcp.", "_dns._udp.", "http.tcp.", "east.", "north.", "x.", "db-0.east.", "db-0.west.", "db-1.east.", "10-44-0-2.west.", "10-44-0-2.east.", "10-43-0-9.east.", "db-0.", "a.b.c."} {
			names = append(names, label+service+".ns.svc."+zone)
		}
	}
	seen, asked, equal := map[string]int{}, 0, 0
	for _, name := range names {
		for _, qtype := range []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "NS", "SOA"} {
			asked++
			q := query{name: name, qtype: qtype, size: 4096}
			o, p := ask(t, ours, q), ask(t, theirs, q)
			if o.String() == p.String() {
				equal++
				continue
			}
			at := slices.IndexFunc(clustersetDeviations, func(d struct {
				id, what string
				holds    func(name, qtype string, ours, theirs reply) bool
			}) bool {
				return d.holds(name, qtype, o, p)
			})
			if at < 0 {
				t.Errorf("%s\nours\n%stheirs\n%s", q, o, p)
				continue
			}
			seen[clustersetDeviations[at].id]++
		}
	}
	t.Logf("%d queries, %d answered alike, differences by reason: %v", asked, equal, seen)
	for _, d := range clustersetDeviations {
		if seen[d.id] == 0 {
			t.Errorf("%s was not seen: %s", d.id, d.what)
		}
	}
}
