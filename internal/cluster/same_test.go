package cluster

import (
	"slices"
	"testing"
)

func TestSame(t *testing.T) {
	key := Key{"ns", "web"}
	makes := map[string]func() Object{
		"service": func() Object {
			return &Service{Key: key, ClusterIPs: addrs("10.0.0.1"), Ports: []ServicePort{{Name: "http", Number: 80, Protocol: TCP}}}
		},
		"service, other port": func() Object {
			return &Service{Key: key, ClusterIPs: addrs("10.0.0.1"), Ports: []ServicePort{{Name: "http", Number: 81, Protocol: TCP}}}
		},
		"service, external": func() Object {
			return &Service{Key: key, ClusterIPs: addrs("10.0.0.1"), External: &External{IPs: addrs("192.0.2.1")}}
		},
		"slice":                   func() Object { return NewSlice(key, key, 1, nil, []Endpoint{{Addr: addrs("10.1.0.1")[0]}}) },
		"slice, newer":            func() Object { return NewSlice(key, key, 2, nil, []Endpoint{{Addr: addrs("10.1.0.1")[0]}}) },
		"slice, other, not newer": func() Object { return NewSlice(key, key, 2, nil, []Endpoint{{Addr: addrs("10.1.0.2")[0]}}) },
		"pod":                     func() Object { return &Pod{Key: key, Addrs: addrs("10.1.0.1")} },
		"pod that moved":          func() Object { return &Pod{Key: key, Addrs: addrs("10.1.0.2")} },
		"node":                    func() Object { return &Node{Name: "n", Addrs: addrs("10.2.0.1"), Zone: MakeAtom("a")} },
		"node that leaves":        func() Object { return &Node{Name: "n", Addrs: addrs("10.2.0.1"), Zone: MakeAtom("a"), Leaving: true} },
		"node with another kubelet": func() Object {
			return &Node{Name: "n", Addrs: addrs("10.2.0.1"), Zone: MakeAtom("a"), KubeletPort: 10350}
		},
		"node in another zone":      func() Object { return &Node{Name: "n", Addrs: addrs("10.2.0.1"), Zone: MakeAtom("b")} },
		"namespace, which is small": func() Object { return &Namespace{Name: "ns"} },
	}
	for name, held := range makes {
		for other, offered := range makes {
			s := NewStore()
			was, o := held(), offered()
			s.Put(1, was)
			want := o
			if _, small := was.(*Namespace); name == other && !small {
				want = was
			}
			if got := s.Same(o); got != want {
				t.Errorf("%s there, %s offered: not the expected one", name, other)
			}
		}
	}
}

// A fresh list in which nothing changed touches nothing: it wakes nobody, and what
// it allocates is a fraction of what the first one did.
func TestReplaceBySame(t *testing.T) {
	const n = 1000
	list := func(s *Store) (services, slices []Object) {
		for i := range n {
			key := Key{"ns", "service-" + string(rune('a'+i%26)) + string(rune('a'+i/26))}
			services = append(services, s.Same(&Service{Key: key, ClusterIPs: addrs("10.0.0.1")}))
			slices = append(slices, s.Same(NewSlice(key, key, 1, nil, []Endpoint{{Addr: nth("10.1.0.1", i), Conditions: Ready}})))
		}
		return services, slices
	}
	s := NewStore()
	services, endpoints := list(s)
	s.Replace(1, KindService, services)
	s.Replace(1, KindSlice, endpoints)
	again, more := list(s)
	if !slices.Equal(services, again) || !slices.Equal(endpoints, more) {
		t.Fatal("Same does not return what is there")
	}
	sub := s.Subscribe()
	sub.Take()
	allocs := testing.AllocsPerRun(5, func() {
		s.Replace(2, KindService, again)
		s.Replace(2, KindSlice, more)
	})
	if allocs > n/4 {
		t.Errorf("%.0f allocations to replace %d Services and slices by themselves", allocs, n)
	}
	if refs := sub.Take(); len(refs) > 0 {
		t.Errorf("%d Services are told to have changed", len(refs))
	}
}
