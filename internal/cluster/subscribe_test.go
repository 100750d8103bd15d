package cluster

import (
	"net/netip"
	"slices"
	"testing"
)

func TestSubscription(t *testing.T) {
	store := NewStore()
	web := Key{"default", "web"}
	store.Put(1, &Service{Key: web})
	sub := store.Subscribe()
	slice := NewSlice(Key{"default", "web-1"}, web, 1, nil, []Endpoint{{Addr: netip.MustParseAddr("10.0.0.1")}})
	other := Key{"default", "other"}
	steps := []struct {
		name string
		do   func()
		want []Ref
	}{
		{"what is there already", func() {}, []Ref{{KindService, web}}},
		{"nothing", func() {}, nil},
		{"a slice twice", func() { store.Put(2, slice); store.Put(3, slice) }, []Ref{{KindService, web}}},
		{"a slice of another Service", func() {
			store.Put(4, NewSlice(slice.Key, other, 4, nil, nil))
		}, []Ref{{KindService, web}, {KindService, other}}},
		{"a deleted Service", func() { store.Delete(5, Ref{KindService, web}) }, []Ref{{KindService, web}}},
		{"a node", func() { store.Put(6, &Node{Name: "n"}) }, []Ref{{KindNode, Key{Name: "n"}}}},
		{"a range of ClusterIPs", func() { store.Put(6, &ServiceCIDR{Name: "c"}) }, []Ref{{KindServiceCIDR, Key{Name: "c"}}}},
		{"one that goes", func() { store.Delete(6, Ref{KindServiceCIDR, Key{Name: "c"}}, Ref{KindServiceCIDR, Key{Name: "d"}}) }, []Ref{{KindServiceCIDR, Key{Name: "c"}}}},
		{"a namespace is not told of", func() { store.Put(7, &Namespace{Name: "x"}) }, nil},
	}
	for _, step := range steps {
		step.do()
		select {
		case <-sub.Wake():
		default:
			if step.want != nil {
				t.Errorf("%s: not woken", step.name)
			}
		}
		got := sub.Take()
		for _, w := range step.want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: %v, want %v in it", step.name, got, w)
			}
		}
		if len(got) != len(step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}
