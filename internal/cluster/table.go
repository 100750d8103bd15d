package cluster

import (
	"hash/maphash"
	"iter"
	"sync/atomic"
)

// table maps Keys to values: one writer at a time, readers without locks or
// allocations. It exists because sync.Map boxes each key and takes 80 B more
// per Service than this, which is a fifth of the whole budget, and a map needs a
// lock; the benchmark is BenchmarkLookup in table_test.go.
//
// It is an open-addressing hash table of cell pointers. A deleted key leaves a
// cell without value, which a new Put of the key revives; when dead cells and
// live ones fill three quarters, a new array takes over the live ones.
// It must be given an init before it is used.
type table[V any] struct {
	array atomic.Pointer[cells[V]]
	seed  maphash.Seed
	used  int // cells in the array, dead ones too
	live  int
}

type cells[V any] []atomic.Pointer[cell[V]]

// cell is the stable place of one Key: other indexes may hold it for as long as
// its value is not nil. The key is nearly always a field of the value, so that it
// is in memory once.
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

// all yields what is in the table, in no order; a concurrent change may be seen or not.
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
