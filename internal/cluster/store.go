package cluster

import (
	"iter"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Store is the index: Services with their endpoints by name and by address,
// namespaces, pods and nodes. Make one with NewStore.
type Store struct {
	services   table[Entry]
	namespaces table[namespace]
	pods       table[Pod]
	nodes      table[Node]
	byAddr     addresses[Entry] // ClusterIPs and ready endpoints of Services that exist
	outside    addresses[Entry] // externalIPs and those of load balancers
	podAddrs   addresses[Pod]

	imports *Store // nil in that Store itself

	serviceCIDRs atomic.Pointer[[]netip.Prefix] // of all objects

	synced   chan struct{} // closed when it is
	syncOnce sync.Once
	restored atomic.Bool
	version  atomic.Uint64
	changes  atomic.Uint64
	objects  [kindCount]atomic.Int64
	parts    [partCount]atomic.Uint64 // serials

	mu            sync.Mutex     // one writer at a time; guards what is below
	slices        map[Key]*Slice // by their own key, as received
	serviceCount  int            // the table also holds slices that wait for their Service
	declared      int            // Namespaces; that table also holds those only Services live in
	cidrs         map[string]*ServiceCIDR
	subscriptions []*Subscription
	serials       serials
}

// namespace exists if the API says so or a Service lives in it: the watches of
// two kinds are not ordered, and a name that exists has an existing parent.
type namespace struct {
	name     string
	declared bool
	services int
}

// NewStore returns an empty Store that is not synced.
func NewStore() *Store {
	s := newStore()
	s.imports = newStore()
	return s
}

// NewStoreByName returns a Store whose Services and pods are found by name only, for readers
// that have no question about an address. It is smaller, and a write costs less: a large slice
// has the index of addresses copied as a whole.
func NewStoreByName() *Store {
	s := NewStore()
	for _, of := range []*Store{s, s.imports} {
		of.byAddr.off, of.outside.off, of.podAddrs.off = true, true, true
	}
	return s
}

func newStore() *Store {
	s := &Store{slices: map[Key]*Slice{}, cidrs: map[string]*ServiceCIDR{}, synced: make(chan struct{})}
	s.services.init()
	s.namespaces.init()
	s.pods.init()
	s.nodes.init()
	s.byAddr.init()
	s.outside.init()
	s.podAddrs.init()
	return s
}

// Service returns the Service with its endpoints, or nil.
func (s *Store) Service(namespace, name string) *Entry {
	e := s.services.get(Key{namespace, name})
	if e == nil || e.Service == nil {
		return nil
	}
	return e
}

// Namespace reports whether the namespace exists.
func (s *Store) Namespace(name string) bool { return s.namespaces.get(Key{Name: name}) != nil }

// Node returns the node, or nil.
func (s *Store) Node(name string) *Node { return s.nodes.get(Key{Name: name}) }

// Nodes yields every node, in no order.
func (s *Store) Nodes() iter.Seq[*Node] { return s.nodes.all() }

// PodAt returns the pod of that namespace with that address, or nil. Pods in
// the host's network share an address, so the namespace is part of the question.
func (s *Store) PodAt(namespace string, a netip.Addr) *Pod {
	for o := s.podAddrs.at(a); o != nil; o = o.next {
		p := o.cell.value.Load() // as it is now: it may have left the address
		if p != nil && p.Namespace == namespace && slices.Contains(p.Addrs, a) {
			return p
		}
	}
	return nil
}

// PodsAt yields the pods of all namespaces that have the address.
func (s *Store) PodsAt(a netip.Addr) iter.Seq[*Pod] {
	return func(yield func(*Pod) bool) {
		for o := s.podAddrs.at(a); o != nil; o = o.next {
			p := o.cell.value.Load()
			if p != nil && slices.Contains(p.Addrs, a) && !yield(p) {
				return
			}
		}
	}
}

// Pods yields every pod, in no order.
func (s *Store) Pods() iter.Seq[*Pod] { return s.pods.all() }

// Owner is a cursor over the Services to which an address belongs.
type Owner struct{ link *owner[Entry] }

// Owners returns the Services that have a as ClusterIP or ready endpoint:
//
//	for o := store.Owners(a); o.Valid(); o = o.Next() { entry := o.Entry() … }
func (s *Store) Owners(a netip.Addr) Owner { return Owner{s.byAddr.at(a)} }

// Valid reports whether there is a Service under the cursor.
func (o Owner) Valid() bool { return o.link != nil }

// Next moves on.
func (o Owner) Next() Owner { return Owner{o.link.next} }

// Entry returns the Service as it is now: nil if it was deleted since the cursor
// was made, and the address may no more be in it.
func (o Owner) Entry() *Entry {
	e := o.link.cell.value.Load()
	if e == nil || e.Service == nil {
		return nil
	}
	return e
}

// HasAddressIn reports whether any ClusterIP or ready endpoint lies inside p.
func (s *Store) HasAddressIn(p netip.Prefix) bool { return s.byAddr.within(p) }

// AddressesIn yields the ClusterIPs and ready endpoints inside p, each once, as
// they were when it began, in no order.
func (s *Store) AddressesIn(p netip.Prefix) iter.Seq[netip.Addr] { return s.byAddr.inside(p) }

// Services yields every Service, in no order.
func (s *Store) Services() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for e := range s.services.all() {
			if e.Service != nil && !yield(e) {
				return
			}
		}
	}
}

// Namespaces yields the name of every namespace that exists, in no order.
func (s *Store) Namespaces() iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range s.namespaces.all() {
			if !yield(n.name) {
				return
			}
		}
	}
}

// Synced reports whether the first complete picture has arrived.
func (s *Store) Synced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// SyncDone returns a channel that is closed when the first complete picture has arrived.
func (s *Store) SyncDone() <-chan struct{} { return s.synced }

// MarkSynced is the feed's word that every kind it watches was listed once.
func (s *Store) MarkSynced() { s.syncOnce.Do(func() { close(s.synced) }) }

// Version is the highest resourceVersion seen (KEP-5504: they are comparable) since the
// API was restored last.
func (s *Store) Version() uint64 { return s.version.Load() }

// Count returns how many objects of a kind are in the Store.
func (s *Store) Count(k Kind) int { return int(s.objects[k].Load()) }
