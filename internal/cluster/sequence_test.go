package cluster

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// pair is the Store under test and its twin.
type pair struct {
	store *Store
	twin  *twin

	sub   *Subscription
	seen  map[Key]*Entry // what was there at the last Check
	nodes map[string]*Node

	numbered [partCount]numbered
	twice    bool // the last write had an object twice
}

func newPair() *pair {
	s := NewStore()
	return &pair{store: s, twin: newTwin(), sub: s.Subscribe(), seen: map[Key]*Entry{}, nodes: map[string]*Node{}}
}

// forStore makes the objects that a Store takes of those that a twin takes.
func forStore(list []any) []Object {
	out := make([]Object, len(list))
	for i, o := range list {
		if sl, ok := o.(twinSlice); ok {
			o = sl.real()
		}
		out[i] = o.(Object)
	}
	return out
}

// offered is what a feed offers: new objects, or where they say the same those
// that are there.
func (p *pair) offered(t *rapid.T, list []any) []Object {
	objects := forStore(list)
	if rapid.Bool().Draw(t, "same") {
		for i := range objects {
			objects[i] = p.store.Same(objects[i])
		}
	}
	return objects
}

func (p *pair) put(t *rapid.T, list ...any) {
	version := rapid.Uint64Range(0, 100).Draw(t, "resourceVersion")
	p.twice = repeats(list)
	for _, o := range list {
		p.twin.put(o)
	}
	p.twin.version = max(p.twin.version, version)
	p.store.Put(version, p.offered(t, list)...)
}

// Put and its siblings are the moves of the state machine.
func (p *pair) Put(t *rapid.T)        { p.put(t, genAnything.Draw(t, "object")) }
func (p *pair) PutService(t *rapid.T) { p.put(t, genService.Draw(t, "service")) }
func (p *pair) PutSlice(t *rapid.T)   { p.put(t, genSlice.Draw(t, "slice")) }
func (p *pair) PutTogether(t *rapid.T) {
	p.put(t, rapid.SliceOfN(genAnything, 0, 6).Draw(t, "objects")...)
}

// Crowd puts a Service and slices of it that have most addresses in common.
func (p *pair) Crowd(t *rapid.T) {
	svc := genService.Draw(t, "service").(*Service)
	list := []any{svc}
	for range rapid.IntRange(2, 4).Draw(t, "slices") {
		sl := genSlice.Draw(t, "slice").(twinSlice)
		sl.key.Namespace, sl.service = svc.Namespace, svc.Key
		for i := range sl.endpoints {
			sl.endpoints[i].Addr = rapid.SampledFrom(worldV4[:3]).Draw(t, "addr")
		}
		list = append(list, sl)
	}
	p.put(t, list...)
}

func (p *pair) Delete(t *rapid.T) {
	p.twice = false
	version := rapid.Uint64Range(0, 100).Draw(t, "resourceVersion")
	var refs []Ref
	for range rapid.IntRange(1, 3).Draw(t, "n") {
		kind := genKind.Draw(t, "kind")
		refs = append(refs, Ref{kind, genKeyOf[kind].Draw(t, "key")})
	}
	for _, r := range refs {
		p.twin.delete(r)
	}
	p.twin.version = max(p.twin.version, version)
	p.store.Delete(version, refs...)
}

// Relist replaces all objects of a kind; some of them are those that are there.
func (p *pair) Relist(t *rapid.T) {
	version := rapid.Uint64Range(0, 100).Draw(t, "resourceVersion")
	kind := genKind.Draw(t, "kind")
	list := rapid.SliceOfN(genObject[kind], 0, 5).Draw(t, "objects")
	if kind == KindSlice {
		for _, k := range slices.SortedFunc(maps.Keys(p.twin.slices), compareForTest) {
			if rapid.Bool().Draw(t, "keep") {
				list = append(list, p.twin.slices[k])
			}
		}
	}
	p.twice = repeats(list)
	p.twin.empty(kind)
	for _, o := range list {
		p.twin.put(o)
	}
	p.twin.version = max(p.twin.version, version)
	p.store.Replace(version, kind, p.offered(t, list))
}

// refOf names an object that a twin takes.
func refOf(o any) string {
	if sl, ok := o.(twinSlice); ok {
		return fmt.Sprint(Ref{KindSlice, sl.key})
	}
	return fmt.Sprint(o.(Object).Ref())
}

// repeats reports whether a list has an object twice.
func repeats(list []any) bool {
	seen := map[string]bool{}
	for _, o := range list {
		seen[refOf(o)] = true
	}
	return len(seen) < len(list)
}

func compareForTest(a, b Key) int {
	return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
}

// Check is called after each move.
func (p *pair) Check(t *rapid.T) { p.check(t) }

// fataler is what can end a test.
type fataler interface {
	Fatalf(format string, args ...any)
}

// check compares everything that can be read with the twin.
func (p *pair) check(t fataler) {
	p.checkSerials(t)
	p.checkServices(t)
	p.checkNamespaces(t)
	p.checkAddresses(t)
	p.checkPodsAndNodes(t)
	p.checkSubscription(t)
	for kind := range kindCount {
		if got, want := p.store.Count(kind), p.twin.count(kind); got != want {
			t.Fatalf("Count(%v) = %d, want %d", kind, got, want)
		}
	}
	if got := p.store.Version(); got != p.twin.version {
		t.Fatalf("Version() = %d, want %d", got, p.twin.version)
	}
}

func (p *pair) checkServices(t fataler) {
	yielded := map[Key]*Entry{}
	for e := range p.store.Services() {
		if yielded[e.Service.Key] != nil {
			t.Fatalf("Services() yields %v twice", e.Service.Key)
		}
		yielded[e.Service.Key] = e
	}
	if len(yielded) != len(p.twin.services) {
		t.Fatalf("Services() yields %d, want %d", len(yielded), len(p.twin.services))
	}
	for _, namespace := range worldNames {
		for _, name := range worldNames {
			k := Key{namespace, name}
			e := p.store.Service(namespace, name)
			if e != yielded[k] {
				t.Fatalf("Service(%v) is not what Services() yields", k)
			}
			want := p.twin.services[k]
			if (e == nil) != (want == nil) {
				t.Fatalf("Service(%v) = %v, want %v", k, e, want)
			}
			if e == nil {
				continue
			}
			if !reflect.DeepEqual(e.Service, want) {
				t.Fatalf("Service(%v) has %v, want %v", k, e.Service, want)
			}
			p.checkEntry(t, k, e)
		}
	}
}

func (p *pair) checkEntry(t fataler, k Key, e *Entry) {
	var received []Key
	for sk, sl := range p.twin.slices {
		if sl.service == k {
			received = append(received, sk)
		}
	}
	slices.SortFunc(received, compareForTest)
	var have []Key
	for _, sl := range e.Slices {
		have = append(have, sl.Key)
	}
	if !slices.Equal(have, received) {
		t.Fatalf("%v has slices %v, want %v", k, have, received)
	}

	if want := p.twin.clashing(k); !maps.Equal(e.clashes, want) || e.clashes != nil && len(want) == 0 {
		t.Fatalf("%v has clashes %v, want %v", k, e.clashes, want)
	}

	want := p.twin.listings(k)
	i := 0
	for ep, ports := range e.Endpoints() {
		if i >= len(want) || *ep != want[i].ep || !slices.Equal(ports, want[i].slice.ports) {
			t.Fatalf("%v: Endpoints() yields at %d %+v with %v, want %+v", k, i, *ep, ports, want[min(i, len(want)-1):])
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%v: Endpoints() yields %d, want %d: %+v", k, i, len(want), want)
	}

	ready := p.twin.ready(k)
	var v4, v6 int
	for _, a := range worldAddrs() {
		ep := e.ReadyEndpoint(a)
		if (ep != nil) != ready[a] {
			t.Fatalf("%v: ReadyEndpoint(%v) = %v, want %v", k, a, ep, ready[a])
		}
		if ep != nil && (ep.Addr != a || ep.Conditions&(Ready|Repeated) != Ready) {
			t.Fatalf("%v: ReadyEndpoint(%v) = %+v", k, a, *ep)
		}
		if got := slices.Collect(firsts(e.ReadyAt(a))); len(got) > 0 && got[0] != ep || len(got) != countReady(want, a) {
			t.Fatalf("%v: ReadyAt(%v) = %v, want %d, the first as ReadyEndpoint", k, a, got, countReady(want, a))
		}
		if ready[a] && a.Is4() {
			v4++
		} else if ready[a] {
			v6++
		}
	}
	repeated := 0
	for _, l := range want {
		if l.ep.Has(Repeated) {
			repeated++
		}
	}
	if got, has := e.Repeated(), e.HasReady(); got != repeated || has != (len(ready) > 0) {
		t.Fatalf("%v: Repeated() = %d, want %d; HasReady() = %v", k, got, repeated, has)
	}
	if got4, got6 := e.Ready(); got4 != v4 || got6 != v6 {
		t.Fatalf("%v: Ready() = %d, %d, want %d, %d", k, got4, got6, v4, v6)
	}
}

// firsts are the first halves of pairs.
func firsts[A, B any](pairs iter.Seq2[A, B]) iter.Seq[A] {
	return func(yield func(A) bool) { pairs(func(a A, _ B) bool { return yield(a) }) }
}

func countReady(list []listing, a netip.Addr) (n int) {
	for _, l := range list {
		if l.ep.Addr == a && l.ep.Has(Ready) {
			n++
		}
	}
	return n
}

func (p *pair) checkNamespaces(t fataler) {
	yielded := map[string]bool{}
	for name := range p.store.Namespaces() {
		if yielded[name] {
			t.Fatalf("Namespaces() yields %q twice", name)
		}
		yielded[name] = true
	}
	for _, name := range worldNames {
		want := p.twin.exists(name)
		if got := p.store.Namespace(name); got != want {
			t.Fatalf("Namespace(%q) = %v, want %v", name, got, want)
		}
		if yielded[name] != want {
			t.Fatalf("Namespaces() yields %q: %v, want %v", name, yielded[name], want)
		}
		delete(yielded, name)
	}
	if len(yielded) > 0 {
		t.Fatalf("Namespaces() yields %v besides", yielded)
	}
}

func (p *pair) checkAddresses(t fataler) {
	p.checkOutside(t)
	owned := p.twin.owned()
	for _, a := range worldAddrs() {
		got := map[Key]bool{}
		for o := p.store.Owners(a); o.Valid(); o = o.Next() {
			e := o.Entry()
			if e == nil {
				t.Fatalf("Owners(%v) has one without an Entry", a)
			}
			if got[e.Service.Key] {
				t.Fatalf("Owners(%v) has %v twice", a, e.Service.Key)
			}
			got[e.Service.Key] = true
			if e != p.store.Service(e.Service.Namespace, e.Service.Name) {
				t.Fatalf("Owners(%v) has an old Entry of %v", a, e.Service.Key)
			}
		}
		for _, k := range owned[a] {
			if !got[k] {
				t.Fatalf("Owners(%v) misses %v", a, k)
			}
			delete(got, k)
		}
		if len(got) > 0 {
			t.Fatalf("Owners(%v) has %v besides %v", a, got, owned[a])
		}
		// Every length, so octets of in-addr.arpa and nibbles of ip6.arpa among them.
		for bits := range a.BitLen() + 1 {
			prefix, _ := a.Prefix(bits)
			want := map[netip.Addr]bool{}
			for o := range owned {
				if prefix.Contains(o) {
					want[o] = true
				}
			}
			if got := p.store.HasAddressIn(prefix); got != (len(want) > 0) {
				t.Fatalf("HasAddressIn(%v) = %v, want %v", prefix, got, len(want) > 0)
			}
			for inside := range p.store.AddressesIn(prefix) {
				if !want[inside] {
					t.Fatalf("AddressesIn(%v) yields %v, twice or wrongly", prefix, inside)
				}
				delete(want, inside)
			}
			if len(want) > 0 {
				t.Fatalf("AddressesIn(%v) misses %v", prefix, want)
			}
		}
	}
}

func (p *pair) checkPodsAndNodes(t fataler) {
	for _, namespace := range worldNames {
		for _, a := range worldAddrs() {
			got, want := p.store.PodAt(namespace, a), p.twin.podsAt(namespace, a)
			if got == nil && len(want) > 0 || got != nil && !slices.ContainsFunc(want, func(w *Pod) bool { return reflect.DeepEqual(got, w) }) {
				t.Fatalf("PodAt(%q, %v) = %v, want one of %v", namespace, a, got, want)
			}
		}
	}
	p.checkPodsAt(t)
	for _, name := range worldNodes {
		if got, want := p.store.Node(name), p.twin.nodes[Key{Name: name}]; !reflect.DeepEqual(got, want) {
			t.Fatalf("Node(%q) = %v, want %v", name, got, want)
		}
	}
	ranges := p.store.ServiceCIDRs()
	for _, c := range worldCIDRs {
		want := false
		for _, o := range p.twin.cidrs {
			want = want || slices.Contains(o.CIDRs, c)
		}
		if slices.Contains(ranges, c) != want {
			t.Fatalf("ServiceCIDRs() = %v, want %v in it: %v", ranges, c, want)
		}
	}
	if len(ranges) > len(worldCIDRs) || !slices.IsSortedFunc(ranges, netip.Prefix.Compare) {
		t.Fatalf("ServiceCIDRs() = %v, want them sorted, each once", ranges)
	}
}

// checkSubscription demands that everything which changed was told, once.
func (p *pair) checkSubscription(t fataler) {
	told := map[Ref]bool{}
	for _, r := range p.sub.Take() {
		if told[r] {
			t.Fatalf("Take() has %v twice", r)
		}
		told[r] = true
	}
	for _, namespace := range worldNames {
		for _, name := range worldNames {
			k := Key{namespace, name}
			e := p.store.Service(namespace, name)
			if e != p.seen[k] && !told[Ref{KindService, k}] {
				t.Fatalf("Take() misses Service %v", k)
			}
			p.seen[k] = e
		}
	}
	for _, name := range worldNodes {
		n := p.store.Node(name)
		if n != p.nodes[name] && !told[Ref{KindNode, Key{Name: name}}] {
			t.Fatalf("Take() misses Node %v", name)
		}
		p.nodes[name] = n
	}
}

// TestSequences puts, deletes and relists at random and compares the Store with
// its twin after each step.
func TestSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(newPair()))
	})
}

// TestOrderDoesNotMatter puts the same objects in two orders, one by one: what
// arrives before its Service, or before a better slice, must not leave a trace.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfNDistinct(genAnything, 0, 12, refOf).Draw(t, "objects")
		p := newPair()
		for _, o := range rapid.Permutation(list).Draw(t, "order") {
			p.twin.put(o)
			p.store.Put(0, forStore([]any{o})...)
		}
		p.Check(t)
	})
}
