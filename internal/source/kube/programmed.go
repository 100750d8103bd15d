package kube

import (
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// Programmed is a change that readers of the Store see now: what the DNS and the
// network programming latency are measured by.
type Programmed struct {
	Kind     cluster.Kind     // KindService: the Service itself; KindSlice: its endpoints
	Service  *cluster.Service // as it is now
	Selector bool             // it finds its endpoints by a selector
	IPv6     bool             // of endpoints: their addresses
	Since    time.Time        // when the change was made; never zero
	Exact    bool             // Since is exact, not in whole seconds
}

// programmed tells of changes that a watch brings: not of lists, which repeat what
// may be true for days, nor of events that change nothing for us, and not of what
// goes, since nobody notes when that was decided. A change that is held counts once
// it is seen. With the sink locked.
type programmed struct {
	store *cluster.Store
	tell  func(Programmed) // nil: nobody asks

	held map[cluster.Key]pending // slices that are shown with more than they have
}

// pending is a change of endpoints that is not yet seen in full.
type pending struct {
	service cluster.Key
	change  Programmed
}

func newProgrammed(store *cluster.Store, tell func(Programmed)) *programmed {
	return &programmed{store: store, tell: tell, held: map[cluster.Key]pending{}}
}

// service is to be called after an event with what the Store showed before; o is
// what it shows now.
func (p *programmed) service(obj any, before *cluster.Entry, o cluster.Object) {
	now, ok := o.(*cluster.Service)
	if p.tell == nil || !ok || before != nil && before.Service.Alike(now) {
		return
	}
	p.say(pending{now.Key, changeOf(obj, cluster.KindService)})
}

// slice is to be called after an event with what the Store showed before: next is
// what the API says. What is not whole waits for release.
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

// release tells of a slice that is now seen as it is.
func (p *programmed) release(key cluster.Key) {
	if c, ok := p.held[key]; ok {
		delete(p.held, key)
		p.say(c)
	}
}

// forget drops what waits: a list came.
func (p *programmed) forget() { clear(p.held) }

func changeOf(obj any, kind cluster.Kind) Programmed {
	since, exact := source.Since(obj)
	s, ok := obj.(*discoveryv1.EndpointSlice)
	return Programmed{
		Kind: kind, Selector: source.FromSelector(obj), Since: since, Exact: exact,
		IPv6: ok && s.AddressType == discoveryv1.AddressTypeIPv6,
	}
}

// say tells, if the time is known and the Service has names.
func (p *programmed) say(c pending) {
	e := p.store.Service(c.service.Namespace, c.service.Name)
	if e == nil || c.change.Since.IsZero() {
		return
	}
	c.change.Service = e.Service
	p.tell(c.change)
}
