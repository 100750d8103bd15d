package cluster

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// The budgets of the index, in bytes resident per object. The in-tree plugin of
// CoreDNS needs 1,136 and 527 to 617.
const (
	budgetService  = 400
	budgetEndpoint = 200
	budgetPolicy   = 700 // a Service with all that few have
)

// resident is what build leaves on the heap, in bytes. The strings and structs
// that a feed would make for the Store are made inside build, so they count.
func resident(build func() any) uint64 {
	before := heap()
	kept := build()
	after := heap()
	runtime.KeepAlive(kept)
	if after < before {
		return 0
	}
	return after - before
}

func heap() uint64 {
	var m runtime.MemStats
	for range 3 { // sync.Pool and unique need more than one cycle to let go
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// nth gives the n-th address from base on, as an allocator that fills ranges does.
func nth(base string, n int) netip.Addr {
	a := netip.MustParseAddr(base)
	b := a.As16()
	for i := 15; n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	if a.Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

// scattered gives an address of the same /12 (or /64) in no order: a service
// range whose allocator draws at random.
func scattered(base string, n int) netip.Addr {
	return nth(base, int(uint32(n)*2654435761>>12))
}

// memoryCase is one kind of content and its budget per object.
type memoryCase struct {
	name    string
	objects int
	budget  float64
	build   func(n int) any
}

func memoryCases() []memoryCase {
	var list []memoryCase
	for _, family := range []struct{ name, services, pods string }{
		{"v4", "10.96.0.0", "10.244.0.0"},
		{"v6", "fd00:10:96::", "fd00:10:244::"},
	} {
		list = append(list,
			memoryCase{"service/" + family.name, 10_000, budgetService, func(n int) any {
				return storeOfServices(n, family.services, nil)
			}},
			memoryCase{"service-policy/" + family.name, 10_000, budgetPolicy, func(n int) any {
				return storeOfServices(n, family.services, richPolicy)
			}},
			memoryCase{"endpoint/" + family.name, 100_000, budgetEndpoint, func(n int) any {
				return storeOfEndpoints(n, family.pods, "")
			}},
			memoryCase{"endpoint-hostname/" + family.name, 100_000, budgetEndpoint, func(n int) any {
				return storeOfEndpoints(n, family.pods, "web-%d")
			}})
	}
	return list
}

// storeOfServices has n Services of one port and one ClusterIP, names of 12 letters.
func storeOfServices(n int, base string, change func(*Service)) *Store {
	namespaces := make([]string, 100)
	for i := range namespaces {
		namespaces[i] = fmt.Sprintf("namespace-%d", i)
	}
	list := make([]Object, n)
	for i := range list {
		svc := &Service{
			Key:        Key{namespaces[i%len(namespaces)], fmt.Sprintf("service-%04d", i)},
			ClusterIPs: []netip.Addr{scattered(base, i)},
			Ports:      []ServicePort{{Name: "http", Number: 80, Protocol: TCP}},
		}
		if change != nil {
			change(svc)
		}
		list[i] = svc
	}
	s := NewStore()
	s.Replace(1, KindService, list)
	return s
}

// richPolicy gives a Service what few have.
func richPolicy(svc *Service) {
	svc.InternalLocal, svc.ExternalLocal = true, true
	svc.External = &External{
		LB: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Proxied: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
		Policy: Policy{
			Sources:  []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24")},
			Affinity: 10800, HealthCheckPort: 32000, Scheduler: "lc",
		},
	}
}

// storeOfEndpoints has n ready endpoints in slices of 100, ten slices a Service,
// on 1,000 nodes in 3 zones. The Services themselves are not there to be counted.
func storeOfEndpoints(n int, base, hostname string) *Store {
	s := NewStore()
	var lists []Object
	for at := 0; at < n; at += 100 {
		svc := Key{"default", fmt.Sprintf("service-%04d", at/1000)}
		list := make([]Endpoint, 100)
		for i := range list {
			list[i] = Endpoint{
				Addr:       nth(base, at+i),
				Node:       MakeAtom(fmt.Sprintf("node-%d", (at+i)%1000)),
				Zone:       MakeAtom(fmt.Sprintf("zone-%d", (at+i)%3)),
				ForZones:   MakeAtom(fmt.Sprintf("zone-%d", (at+i)%3)),
				ForNodes:   MakeAtom(fmt.Sprintf("node-%d", (at+i)%1000)),
				Conditions: Ready | Serving,
			}
			if hostname != "" {
				list[i].Hostname = fmt.Sprintf(hostname, at+i)
			}
		}
		name := Key{"default", fmt.Sprintf("%s-%05d", svc.Name, at/100)}
		if at%1000 == 0 {
			s.Put(0, &Service{Key: svc, Headless: true})
		}
		ports := []Port{{Name: "http", Number: 8080, Protocol: TCP}}
		lists = append(lists, NewSlice(name, svc, uint64(at), ports, list))
	}
	s.Replace(1, KindSlice, lists)
	return s
}

func TestMemoryBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates for itself")
	}
	for _, c := range memoryCases() {
		t.Run(c.name, func(t *testing.T) {
			perObject := float64(resident(func() any { return c.build(c.objects) })) / float64(c.objects)
			t.Logf("%.0f B each of %d, budget %.0f", perObject, c.objects, c.budget)
			if perObject > c.budget {
				t.Errorf("%.0f B each, want at most %.0f", perObject, c.budget)
			}
		})
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, c := range memoryCases() {
		b.Run(c.name, func(b *testing.B) {
			var bytes uint64
			for b.Loop() {
				bytes = resident(func() any { return c.build(c.objects) })
			}
			b.ReportMetric(float64(bytes)/float64(c.objects), "B/object")
		})
	}
}
