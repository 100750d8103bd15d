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

// Changes are counted by kind, and are open until the reader is done with what it took.
func TestProgress(t *testing.T) {
	store := NewStore()
	web, other := Key{"default", "web"}, Key{"default", "other"}
	slice := func(service Key, version uint64) *Slice {
		return NewSlice(Key{"default", "web-1"}, service, version, nil, nil)
	}
	p := func(seen, open int) Progress { return Progress{Seen: seen, Open: open} }
	store.Put(1, &Service{Key: web}, slice(web, 1))
	sub := store.Subscribe()
	for _, step := range []struct {
		name             string
		do               func()
		services, slices Progress
	}{
		{"what is there already", func() {}, p(1, 1), p(1, 1)},
		{"taken", func() { sub.Take() }, p(1, 1), p(1, 1)},
		{"a slice", func() { store.Put(2, slice(web, 2)) }, p(1, 1), p(2, 2)},
		{"done with what was taken", func() { sub.Done(web) }, p(1, 0), p(2, 1)},
		{"done twice", func() { sub.Done(web) }, p(1, 0), p(2, 1)},
		{"taken and done", func() { sub.Take(); sub.Done(web) }, p(1, 0), p(2, 0)},
		{"the slice of another Service", func() { store.Put(3, slice(other, 3)) }, p(1, 0), p(4, 2)},
		{"one of two done", func() { sub.Take(); sub.Done(other) }, p(1, 0), p(4, 1)},
		{"a node", func() { store.Put(4, &Node{Name: "n"}); sub.Take() }, p(1, 0), p(4, 1)},
		{"a deleted Service", func() { store.Delete(5, Ref{KindService, web}) }, p(2, 1), p(4, 1)},
	} {
		step.do()
		if services, slices := sub.Progress(); services != step.services || slices != step.slices {
			t.Errorf("%s: %v %v, want %v %v", step.name, services, slices, step.services, step.slices)
		}
	}
}
