package hostile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

// questions are about each name that others have.
func (w town) questions() []dns.Question {
	var all []dns.Question
	add := func(name string, types ...uint16) {
		for _, t := range types {
			all = append(all, dns.Question{Name: name, Qtype: t, Qclass: dns.ClassINET})
		}
	}
	for _, s := range []string{"kubernetes.default", "kube-dns.kube-system", "web.bank", "balanced.bank", "sticky.bank", "young.bank", "db.bank", "gone.bank"} {
		add(s+".svc.cluster.local.", dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT)
	}
	for _, s := range []string{"_http._tcp.web.bank", "_dns._udp.kube-dns.kube-system", "_http._tcp.db.bank"} {
		add(s+".svc.cluster.local.", dns.TypeSRV)
	}
	for _, s := range []string{"pod-0.db.bank", "pod-1.db.bank", "pod-2.db.bank", "bank", "kube-system", "default"} {
		add(s+".svc.cluster.local.", dns.TypeA)
	}
	add("cluster.local.", dns.TypeSOA, dns.TypeNS)
	for _, ip := range []string{apiVIP, dnsVIP, webVIP, balancedVIP, stickyVIP, youngVIP} {
		name, _ := dns.ReverseAddr(ip)
		add(name, dns.TypePTR)
	}
	return all
}

// pointers are the names of a pod of others, which it keeps beside those that the tenant gives its address.
func (w town) pointers(i int) (question dns.Question, names []string) {
	reverse, _ := dns.ReverseAddr(w.pods[i].String())
	for _, s := range []string{"kube-dns.kube-system", "web.bank", "balanced.bank", "sticky.bank", "young.bank", "db.bank"} {
		names = append(names, fmt.Sprintf("PTR\tpod-%d.%s.svc.cluster.local.", i, s))
	}
	return dns.Question{Name: reverse, Qtype: dns.TypePTR, Qclass: dns.ClassINET}, names
}

// answer asks one question and returns what comes, sorted and without what no client looks at.
func answer(t *testing.T, network, server string, q dns.Question) string {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Qtype)
	m.SetEdns0(1232, false)
	client := dns.Client{Net: network, Timeout: 10 * time.Second}
	reply, _, err := client.Exchange(m, server)
	if err != nil {
		t.Fatalf("%s %s: %v", q.Name, dns.TypeToString[q.Qtype], err)
	}
	var lines []string
	for _, section := range [][]dns.RR{reply.Answer, reply.Ns, reply.Extra} {
		for _, rr := range section {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial = 0 // it counts changes of all
			}
			if rr.Header().Rrtype != dns.TypeOPT {
				lines = append(lines, rr.String())
			}
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%s %s: %s TC=%v\n%s", q.Name, dns.TypeToString[q.Qtype], dns.RcodeToString[reply.Rcode], reply.Truncated, strings.Join(lines, "\n"))
}

// TestTenantNames lets a tenant write at random and looks at what is answered about the names of others.
func TestTenantNames(t *testing.T) {
	states(t, func(t *testing.T, d dice) {
		server := api.New(t)
		w := town{node: netip.MustParseAddr("172.18.0.11")}
		for i := range 3 {
			w.pods = append(w.pods, netip.AddrFrom4([4]byte{10, 244, 1, byte(2 + i)}))
		}
		server.Put(w.infrastructure()...)
		server.Put(w.victims(0, 1)...)
		side := peer.Start(t, "signpost", server.URL, "", "")
		marks := 0
		settle := func() {
			t.Helper()
			marks++
			name := fmt.Sprintf("mark-%d", marks)
			mark := victim("mark", name, "None", young, tcp("http", 80, 0))
			server.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "mark"}}, mark, w.served(mark, 0))
			q := dns.Question{Name: name + ".mark.svc.cluster.local.", Qtype: dns.TypeA}
			for begin := time.Now(); !strings.Contains(answer(t, "udp", side.UDP, q), w.pods[0].String()); time.Sleep(time.Millisecond) {
				if time.Since(begin) > patience {
					t.Fatalf("%s has no address after %v", q.Name, patience)
				}
			}
		}
		settle()
		want := map[dns.Question]string{}
		for _, q := range w.questions() {
			want[q] = answer(t, "udp", side.UDP, q)
		}
		n := newTenant(d, w, sizes{services: 100, ports: 20, endpoints: 200, slices: 2, text: 250 << 10}, server)
		for range d.between(2, 5) {
			for range d.between(1, 6) {
				n.step()
			}
			settle()
			for i := range 2 {
				q, names := w.pointers(i)
				got := answer(t, "tcp", side.TCP, q)
				for _, name := range names {
					if !strings.Contains(got, name+"\n") && !strings.HasSuffix(got, name) {
						t.Errorf("got %.2000s\nwithout %s; the tenant did\n%s", got, name, n.story())
					}
				}
			}
			for _, q := range w.questions() {
				if got := answer(t, "udp", side.UDP, q); got != want[q] {
					t.Errorf("got %s\nwant %s\nthe tenant did\n%s", got, want[q], n.story())
				}
			}
		}
	})
}
