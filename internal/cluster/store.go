package cluster

import (
	"hash/maphash"
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
// was made. The address may have been removed from the Service since.
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

// Synced reports whether the feed has listed everything once.
func (s *Store) Synced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// SyncDone returns a channel that is closed when Synced becomes true.
func (s *Store) SyncDone() <-chan struct{} { return s.synced }

// MarkSynced records that the feed has listed every kind that it watches once.
func (s *Store) MarkSynced() { s.syncOnce.Do(func() { close(s.synced) }) }

// Version returns the highest resourceVersion seen (KEP-5504: they are comparable) since the
// API was restored last.
func (s *Store) Version() uint64 { return s.version.Load() }

// Count returns how many objects of a kind are in the Store.
func (s *Store) Count(k Kind) int { return int(s.objects[k].Load()) }

// table maps Keys to values: one writer at a time, readers without locks or
// allocations. It exists because sync.Map boxes each key and takes 80 B more
// per Service than this, which is a fifth of the whole budget, and a map needs a
// lock; the benchmark is BenchmarkLookup in store_table_test.go.
//
// It is an open-addressing hash table of cell pointers. A deleted key leaves a
// cell without value, which a new Put of the key revives; when dead cells and
// live ones fill three quarters, a new array takes over the live ones.
// Call init before use.
type table[V any] struct {
	array atomic.Pointer[cells[V]]
	seed  maphash.Seed
	used  int // cells in the array, dead ones too
	live  int
}

type cells[V any] []atomic.Pointer[cell[V]]

// cell is the stable place of one Key. Other indexes may hold it while its value is not nil.
// The key is nearly always a field of the value, so that it is in memory once.
type cell[V any] struct {
	key   atomic.Pointer[Key]
	value atomic.Pointer[V]
}

const smallestTable = 16

func (t *table[V]) init() {
	t.seed = maphash.MakeSeed()
	array := make(cells[V], smallestTable)
	t.array.Store(&array)
}

func (t *table[V]) hash(k Key) uint64 {
	// The factor keeps {a, b} and {b, a} apart.
	return maphash.String(t.seed, k.Name) + 31*maphash.String(t.seed, k.Namespace)
}

// find returns the cell of k, or nil and the free place where it belongs.
func (a cells[V]) find(h uint64, k Key) (*cell[V], uint64) {
	mask := uint64(len(a) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		c := a[i].Load()
		if c == nil {
			return nil, i
		}
		if *c.key.Load() == k {
			return c, i
		}
	}
}

// get returns the value of k, or nil.
func (t *table[V]) get(k Key) *V {
	c, _ := (*t.array.Load()).find(t.hash(k), k)
	if c == nil {
		return nil
	}
	return c.value.Load()
}

// put sets the value of k and returns its cell. K must live no longer than v, and
// not change. Only for the writer.
func (t *table[V]) put(k *Key, v *V) *cell[V] {
	h := t.hash(*k)
	array := *t.array.Load()
	c, free := array.find(h, *k)
	if c == nil {
		c = new(cell[V])
		c.key.Store(k)
		c.value.Store(v)
		t.live++
		if t.used++; t.used > len(array)/4*3 {
			t.rebuild(c)
		} else {
			array[free].Store(c)
		}
		return c
	}
	c.key.Store(k) // the same, but not inside of the old value
	if c.value.Swap(v) == nil {
		t.live++
	}
	return c
}

// delete removes k if it is there. Only for the writer.
func (t *table[V]) delete(k Key) {
	if c, _ := (*t.array.Load()).find(t.hash(k), k); c != nil && c.value.Swap(nil) != nil {
		c.key.Store(&k)
		t.live--
	}
}

// rebuild moves the live cells and one new cell into an array of fitting size.
func (t *table[V]) rebuild(added *cell[V]) {
	size := smallestTable
	for size/2 < t.live {
		size *= 2
	}
	array := make(cells[V], size)
	insert := func(c *cell[V]) {
		_, free := array.find(t.hash(*c.key.Load()), *c.key.Load())
		array[free].Store(c)
	}
	old := *t.array.Load()
	for i := range old {
		if c := old[i].Load(); c != nil && c.value.Load() != nil {
			insert(c)
		}
	}
	insert(added)
	t.used = t.live
	t.array.Store(&array)
}

// all yields the values, in no order. It may or may not see a concurrent change.
func (t *table[V]) all() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		array := *t.array.Load()
		for i := range array {
			c := array[i].Load()
			if c == nil {
				continue
			}
			if v := c.value.Load(); v != nil && !yield(v) {
				return
			}
		}
	}
}
