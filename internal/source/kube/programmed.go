package kube

import (
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// Programmed is a change that readers of the Store now see. The DNS and the network
// programming latency are measured with it.
type Programmed struct {
	Kind     cluster.Kind     // KindService: the Service itself; KindSlice: its endpoints
	Service  *cluster.Service // current state
	Selector bool             // a selector determines its endpoints
	IPv6     bool             // family of the endpoints
	Since    time.Time        // when the change was made; never zero
	Exact    bool             // Since has full precision instead of whole seconds
}

// programmed reports changes that a watch brings. It ignores lists, which repeat old state,
// events without effect on the Store, and removals, because their time is not recorded. A
// held change counts once readers see it. Its methods need the lock of the sink.
type programmed struct {
	store *cluster.Store
	tell  func(Programmed) // nil: disabled

	held map[cluster.Key]pending // slices with held endpoints
}

// pending is a change of endpoints that readers do not see completely yet.
type pending struct {
	service cluster.Key
	change  Programmed
}

func newProgrammed(store *cluster.Store, tell func(Programmed)) *programmed {
	return &programmed{store: store, tell: tell, held: map[cluster.Key]pending{}}
}

// service is called after an event with what the Store showed before; o is what it shows
// now.
func (p *programmed) service(obj any, before *cluster.Entry, o cluster.Object) {
	now, ok := o.(*cluster.Service)
	if p.tell == nil || !ok || before != nil && before.Service.Alike(now) {
		return
	}
	p.say(pending{now.Key, changeOf(obj, cluster.KindService)})
}

// slice is called after an event with what the Store showed before; next is the slice in
// the API. If the Store does not show it as a whole, it waits for release.
func (p *programmed) slice(obj any, key cluster.Key, before, next *cluster.Slice, whole bool) {
	if p.tell == nil {
		return
	}
	delete(p.held, key)
	if next == nil || before != nil && slices.Equal(before.Endpoints, next.Endpoints) && slices.Equal(before.Ports, next.Ports) {
		return
	}
	c := pending{next.Service, changeOf(obj, cluster.KindSlice)}
	if !whole {
		p.held[key] = c
		return
	}
	p.say(c)
}

// release reports a slice that the Store now shows unchanged.
func (p *programmed) release(key cluster.Key) {
	if c, ok := p.held[key]; ok {
		delete(p.held, key)
		p.say(c)
	}
}

// forget drops pending changes after a list.
func (p *programmed) forget() { clear(p.held) }

func changeOf(obj any, kind cluster.Kind) Programmed {
	since, exact := source.Since(obj)
	s, ok := obj.(*discoveryv1.EndpointSlice)
	return Programmed{
		Kind: kind, Selector: source.FromSelector(obj), Since: since, Exact: exact,
		IPv6: ok && s.AddressType == discoveryv1.AddressTypeIPv6,
	}
}

// say reports a change if its time is known and the Service has names.
func (p *programmed) say(c pending) {
	e := p.store.Service(c.service.Namespace, c.service.Name)
	if e == nil || c.change.Since.IsZero() {
		return
	}
	c.change.Service = e.Service
	p.tell(c.change)
}
