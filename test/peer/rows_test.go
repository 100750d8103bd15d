package peer

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/test/api"
)

// brief is what a row says of an answer: the code, or the number of records, and RD.
func brief(m *dns.Msg) string {
	text := dns.RcodeToString[m.Rcode]
	if len(m.Answer) > 0 {
		text = fmt.Sprintf("%d records", len(m.Answer))
	}
	if m.RecursionDesired {
		text += " rd"
	}
	return text
}

// TestRowsWithoutNumber asks both plugins for what the README's table says of states that
// random clusters do not have.
func TestRowsWithoutNumber(t *testing.T) {
	now := metav1.Now()
	s := api.New(t)
	s.Put(Cluster()...)
	s.Put(
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ends", DeletionTimestamp: &now, Finalizers: []string{"example.org/wait"}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.5.0.1", PodIPs: []corev1.PodIP{{IP: "10.5.0.1"}}},
		},
		Service("ns", "mapped", HTTP, "None"), Slice("ns", "mapped", "1", 8080, discoveryv1.AddressTypeIPv6, Endpoint(true, "", "::ffff:10.6.0.1")),
		Service("without", "web", HTTP, "10.0.0.77"),
	)
	notify := question("web.ns.svc."+zone, dns.TypeA)
	notify.Opcode = dns.OpcodeNotify
	full := []struct {
		row          string // what the README calls it
		query        *dns.Msg
		theirs, ours string
	}{
		{"a pod that terminates", question("10-5-0-1.ns.pod."+zone, dns.TypeA), "NXDOMAIN rd", "1 records rd"},
		{"an IPv4-mapped IPv6 address", question("mapped.ns.svc."+zone, dns.TypeSRV), "1 records rd", "NXDOMAIN rd"},
		{"a Namespace is gone", question("web.without.svc."+zone, dns.TypeA), "NXDOMAIN rd", "1 records rd"},
		{"the RD bit of an answer", notify, "1 records", "1 records rd"},
		{"that is an IPv4 address", question("extip.ns.svc."+zone, dns.TypeA), "NXDOMAIN rd", "NXDOMAIN rd"},
	}
	readme, err := os.ReadFile("../../plugin/signpost/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, plugin := range []string{"kubernetes", "signpost"} {
		side, stop, err := Serve(plugin, s.URL, "pods verified", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range full {
			want := map[string]string{"kubernetes": c.theirs, "signpost": c.ours}[plugin]
			m, err := dns.Exchange(c.query, side.UDP)
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(m); got != want {
				t.Errorf("%s: %s answers %s, want %s", c.row, plugin, got, want)
			}
			if !strings.Contains(string(readme), c.row) {
				t.Errorf("the README has no row with %q", c.row)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}

	s.RefuseKind("endpointslices", 403)
	for plugin, want := range map[string]string{"kubernetes": "1 records rd", "signpost": "SERVFAIL rd"} {
		side, stop, err := Serve(plugin, s.URL, "startup_timeout 1s", "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := dns.Exchange(question("web.ns.svc."+zone, dns.TypeA), side.UDP)
		if err != nil {
			t.Fatal(err)
		}
		if got := brief(m); got != want {
			t.Errorf("a right is missing: %s answers %s, want %s", plugin, got, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
