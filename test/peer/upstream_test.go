package peer

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/rewrite"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/test/api"
)

// resolver is an upstream that counts what it is asked.
type resolver struct {
	addr string

	mu    sync.Mutex
	asked map[string]int
}

func newResolver(t *testing.T) *resolver {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &resolver{addr: pc.LocalAddr().String(), asked: map[string]int{}}
	server := &dns.Server{PacketConn: pc, Handler: u}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	return u
}

// ServeDNS implements dns.Handler.
func (u *resolver) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	q := r.Question[0]
	u.mu.Lock()
	u.asked[q.Name+" "+dns.TypeToString[q.Qtype]]++
	u.mu.Unlock()
	m := new(dns.Msg).SetReply(r)
	soa, _ := dns.NewRR(q.Name + " 60 IN SOA ns.example. host.example. 1 60 60 60 60")
	m.Ns = []dns.RR{soa}
	text := map[uint16]string{dns.TypeA: " 60 IN A 192.0.2.80", dns.TypePTR: " 60 IN PTR host.example.net."}[q.Qtype]
	if rr, err := dns.NewRR(q.Name + text); err == nil && text != "" {
		m.Answer, m.Ns = []dns.RR{rr}, nil
	}
	_ = w.WriteMsg(m)
}

// TestUpstreamQueries: however often names are asked for that are not of the cluster, an
// upstream gets the queries that it gets from the plugin kubernetes, and no more.
func TestUpstreamQueries(t *testing.T) {
	s := api.New(t)
	s.Put(Cluster()...)
	s.Put(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "client"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "127.0.0.1", PodIPs: []corev1.PodIP{{IP: "127.0.0.1"}}},
	})
	const fall = "fallthrough in-addr.arpa ip6.arpa"
	for _, c := range []struct {
		name, options, rest string
		fewer               string // that the upstream is asked less often, because kubernetes gives no SOA record to cache NODATA by (D8b)
	}{
		{"kubeadm", fall, "cache 30", ""},
		{"kubeadm now", fall, "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n}", ""},
		{"fallthrough of all", "fallthrough", "cache 30", ""},
		{"a cache for the cluster", fall, "cache 30 cluster.local", "www.example.net. AAAA"},
		{"no cache", fall, "", ""},
		{"autopath", fall + "\npods verified", "cache 30\n autopath @NAME", ""},
		{"rewrite", fall, "cache 30\n rewrite name web.ns.svc.cluster.local www.example.net", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			counts := map[string]map[string]int{}
			for _, plugin := range []string{"kubernetes", "signpost"} {
				u := newResolver(t)
				rest := fmt.Sprintf("%s\n forward . %s", strings.ReplaceAll(c.rest, "NAME", plugin), u.addr)
				side, stop, err := Serve(plugin, s.URL, c.options, rest)
				if err != nil {
					t.Fatal(err)
				}
				for range 5 {
					for _, q := range []struct {
						name  string
						qtype uint16
					}{
						{"8.8.8.8.in-addr.arpa.", dns.TypePTR}, {"ext.ns.svc.cluster.local.", dns.TypeA}, {"ext.ns.svc.cluster.local.", dns.TypeAAAA},
						{"www.example.org.", dns.TypeA}, {"www.example.org.ns.svc.cluster.local.", dns.TypeA}, {"web.ns.svc.cluster.local.", dns.TypeA},
					} {
						if _, err := dns.Exchange(question(q.name, q.qtype), side.UDP); err != nil {
							t.Errorf("%s: asking for %s: %v", plugin, q.name, err)
						}
					}
				}
				counts[plugin] = u.asked
				if err := stop(); err != nil {
					t.Error(err)
				}
			}
			if c.fewer != "" && counts["signpost"][c.fewer] < counts["kubernetes"][c.fewer] {
				counts["signpost"][c.fewer] = counts["kubernetes"][c.fewer]
			}
			if diff := cmp.Diff(counts["kubernetes"], counts["signpost"]); diff != "" {
				t.Errorf("queries to the upstream (-kubernetes +signpost):\n%s", diff)
			}
			if counts["kubernetes"]["8.8.8.8.in-addr.arpa. PTR"] == 0 || counts["kubernetes"]["www.example.net. A"] == 0 {
				t.Errorf("the upstream got %v", counts["kubernetes"])
			}
		})
	}
}

func question(name string, qtype uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, qtype) }
