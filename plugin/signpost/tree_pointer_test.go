package signpost

import (
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// shared has one pod behind four Services.
func shared() *cluster.Store {
	s := cluster.NewStore()
	created := func(at uint32) func(*cluster.Service) { return func(s *cluster.Service) { s.Created = at } }
	pod := func(hostname string) cluster.Endpoint { return ready("172.16.0.1", hostname) }
	s.Put(1,
		service("a", "plain", created(1), "10.0.0.1"), slice("a", "plain", "plain-1", http8080, pod("")),
		service("a", "young", created(30)), slice("a", "young", "young-1", http8080, pod("")),
		service("b", "old", created(20)), slice("b", "old", "old-1", http8080, pod("")),
		service("a", "named", created(40)), slice("a", "named", "named-1", http8080, pod("web-0")),
		service("a", "lone", created(1), "10.0.0.2"), slice("a", "lone", "lone-1", http8080, ready("172.16.0.2", "")),
	)
	s.MarkSynced()
	return s
}

func TestPointerPolicy(t *testing.T) {
	const ( // below svc.cluster.local.
		named, old, young = "web-0.named.a", "172-16-0-1.old.b", "172-16-0-1.young.a"
		plain             = "172-16-0-1.plain.a"
	)
	for _, tt := range []struct {
		name       string
		policy     ptrPolicy
		single     bool
		pod, other []string // names of 172.16.0.1, of 172.16.0.2
	}{
		{"all", ptrAll, false, []string{named, old, young, plain}, []string{"172-16-0-2.lone.a"}},
		{"all single", ptrAll, true, []string{named}, []string{"172-16-0-2.lone.a"}},
		{"headless", ptrHeadless, false, []string{named, old, young}, nil},
		{"hostname", ptrHostname, false, []string{named}, nil},
		{"services", ptrServices, false, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := plugged(shared(), func(s *Signpost) { s.ptr, s.ptrSingle = tt.policy, tt.single })
			for address, want := range map[string][]string{
				"1.0.16.172": tt.pod, "2.0.16.172": tt.other, "1.0.0.10": {"plain.a"}, "2.0.0.10": {"lone.a"},
			} {
				m, _ := ask(t, s, address+".in-addr.arpa.", dns.TypePTR)
				var got []string
				for _, rr := range m.Answer {
					got = append(got, rr.(*dns.PTR).Ptr)
				}
				var full []string
				for _, name := range want {
					full = append(full, name+".svc.cluster.local.")
				}
				if !slices.Equal(got, full) {
					t.Errorf("%s: %q, want %q", address, got, full)
				}
				// Without a name there is no node, so another plugin may know one.
				if rcode := map[bool]int{true: dns.RcodeSuccess, false: dns.RcodeNameError}[len(want) > 0]; m.Rcode != rcode {
					t.Errorf("%s: rcode %d, want %d", address, m.Rcode, rcode)
				}
			}
		})
	}
}

// The order does not depend on who came first.
func TestPointerOrderIsStable(t *testing.T) {
	names := func(s *Signpost) []string { return s.pointers(&s.zones[1], addrs("172.16.0.1")[0]) }
	want := names(plugged(shared(), nil))
	store := cluster.NewStore()
	_, objects := shared().Contents()
	for range 20 {
		slices.SortFunc(objects, func(a, b cluster.Object) int { return int(b.Ref().Kind) - int(a.Ref().Kind) })
		objects = append(objects[1:], objects[0])
		for _, o := range objects {
			store.Delete(1, o.Ref())
			store.Put(1, o)
		}
		if got := names(plugged(store, nil)); !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}
