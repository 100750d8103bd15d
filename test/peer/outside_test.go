package peer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/coredns/coredns/plugin/k8s_external"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/test/api"
)

// balanced gives a Service addresses and names outside the cluster.
func balanced(s *corev1.Service, externalIPs []string, ingress ...corev1.LoadBalancerIngress) *corev1.Service {
	s.Spec.ExternalIPs, s.Status.LoadBalancer.Ingress = externalIPs, ingress
	return s
}

// outsideDeviations are where we differ from k8s_external on purpose.
var outsideDeviations = []struct {
	id, what string
	holds    func(name, qtype string, ours, theirs reply) bool
}{
	{"X1", "addresses at _port._protocol names", func(n, q string, o, p reply) bool {
		return strings.HasPrefix(n, "_") && (q == "A" || q == "AAAA") && o.noData()
	}},
	{"X2", "SRV without underscores", func(n, _ string, o, _ reply) bool { return strings.HasPrefix(n, "http.tcp.") && o.nxDomain() }},
	{"X3", "any label left of a Service with addresses outside is that Service", func(n, _ string, o, p reply) bool {
		label, rest, _ := strings.Cut(n, ".")
		service, _, _ := strings.Cut(rest, ".")
		return (!strings.HasPrefix(label, "_") || label == "_tcp") && slices.Contains([]string{"shop", "named", "pair", "bare"}, service) && o.nxDomain() && p.rcode == "NOERROR"
	}},
	{"X4", "an inner node: the label is taken for an endpoint", func(n, q string, o, p reply) bool {
		return strings.HasPrefix(n, "_tcp.") && o.noData()
	}},
	{"X5", "a CNAME answers every type", func(n, _ string, o, _ reply) bool {
		return n == "named.ns.example.org." && len(o.answer) > 0 && strings.Contains(o.answer[0], " cname ")
	}},
	{"X6", "addresses of the target beside an SRV record that leads out of the zone", func(n, q string, o, p reply) bool {
		return n == "_http._tcp.named.ns.example.org." && q == "SRV" && slices.Equal(o.answer, p.answer) && len(o.extra) == 0
	}},
	{"X7", "other types than PTR, and inner nodes, in reverse zones", func(n, q string, o, p reply) bool {
		return strings.HasSuffix(n, ".arpa.") && q != "PTR" && o.noData() && p.nxDomain()
	}},
}

// TestOutsideBesideK8sExternal asks the same names of our option external and of
// the plugin k8s_external.
func TestOutsideBesideK8sExternal(t *testing.T) {
	s := api.New(t)
	s.Put(Cluster()...)
	s.Put(
		balanced(Service("ns", "shop", HTTP, "10.0.1.1"), []string{"192.0.2.1", "2001:db8::1"}, corev1.LoadBalancerIngress{IP: "192.0.2.9"}),
		balanced(Service("ns", "named", HTTP, "10.0.1.2"), nil, corev1.LoadBalancerIngress{Hostname: "www.example.net"}),
		balanced(Service("ns", "bare", nil, "10.0.1.3"), []string{"192.0.2.3"}),
		balanced(Service("ns", "pair", []corev1.ServicePort{
			{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
		}, "10.0.1.4"), []string{"192.0.2.3"}),
		Slice("ns", "pair", "1", 8080, discoveryv1.AddressTypeIPv4, Endpoint(true, "host3", "172.16.5.1")),
	)
	zoneFile := filepath.Join(t.TempDir(), "example.net.zone")
	if err := os.WriteFile(zoneFile, []byte(upstream), 0o600); err != nil {
		t.Fatal(err)
	}
	rest := "file " + zoneFile + " example.net"
	const zones = "example.org 2.0.192.in-addr.arpa"
	ours := Start(t, "signpost", s.URL, "external "+zones+"\n headless", rest)
	theirs := Start(t, "kubernetes", s.URL, "", rest+"\n k8s_external "+zones+" {\n headless\n }")

	names := []string{
		"example.org.", "dns.example.org.", "ns1.dns.example.org.", "ns2.dns.example.org.", "a.ns1.dns.example.org.", "ns.example.org.", "gone.example.org.", "vacant.example.org.",
		"gone.ns.example.org.", "web.ns.example.org.", "ext.ns.example.org.", "a.b.c.shop.ns.example.org.", "SHOP.ns.Example.Org.",
		"1.2.0.192.in-addr.arpa.", "3.2.0.192.in-addr.arpa.", "9.2.0.192.in-addr.arpa.", "4.2.0.192.in-addr.arpa.",
	}
	for _, service := range []string{"shop", "named", "bare", "pair", "hdls", "twins", "idle"} {
		for _, label := range []string{"", "_http._tcp.", "_dns._udp.", "_http._udp.", "http.tcp.", "_tcp.", "x.", "host3.", "twin.", "172-16-0-2."} {
			names = append(names, label+service+".ns.example.org.")
		}
	}
	seen := map[string]int{}
	asked, equal := 0, 0
	for _, name := range names {
		for _, qtype := range []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "NS", "SOA"} {
			asked++
			o, p := exchange(t, ours, query{name: name, qtype: qtype, size: 4096}), exchange(t, theirs, query{name: name, qtype: qtype, size: 4096})
			if o.String() == p.String() {
				equal++
				continue
			}
			reason := ""
			for _, d := range outsideDeviations {
				if reason == "" && d.holds(name, qtype, o, p) {
					reason = d.id
				}
			}
			if seen[reason]++; reason == "" {
				t.Errorf("%s %s\nours\n%stheirs\n%s", name, qtype, o, p)
			}
		}
	}
	t.Logf("%d queries, %d answered alike, differences by reason: %v", asked, equal, seen)
	for _, d := range outsideDeviations {
		if seen[d.id] == 0 {
			t.Errorf("%s was not seen: %s", d.id, d.what)
		}
	}
}
