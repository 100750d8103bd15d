package cluster

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// tableMachine is a table beside the map that it must equal.
type tableMachine struct {
	table table[int]
	twin  map[Key]*int
	cells map[Key]*cell[int] // of the keys in the twin: they must stay where they are
}

func newTableMachine() *tableMachine {
	m := &tableMachine{twin: map[Key]*int{}, cells: map[Key]*cell[int]{}}
	m.table.init()
	return m
}

// genTableKey draws from enough keys for several rebuilds, mirror images and
// empty halves among them.
var genTableKey = rapid.Custom(func(t *rapid.T) Key {
	part := rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "g", "h"})
	return Key{part.Draw(t, "namespace"), part.Draw(t, "name")}
})

// keyed gives a key a place of its own.
func keyed(k Key) *Key { return &k }

func (m *tableMachine) put(t *rapid.T, k Key) {
	v := new(int)
	c := m.table.put(&k, v)
	if *c.key.Load() != k || c.value.Load() != v {
		t.Fatalf("put(%v) returns the cell of %v", k, *c.key.Load())
	}
	if m.twin[k] != nil && m.cells[k] != c {
		t.Fatalf("put(%v) makes another cell of a key that is there", k)
	}
	m.twin[k], m.cells[k] = v, c
}

func (m *tableMachine) delete(k Key) {
	m.table.delete(k)
	delete(m.twin, k)
	delete(m.cells, k)
}

func (m *tableMachine) Put(t *rapid.T) { m.put(t, genTableKey.Draw(t, "key")) }

// Fill puts many, so that the table is rebuilt.
func (m *tableMachine) Fill(t *rapid.T) {
	for _, k := range rapid.SliceOfN(genTableKey, 0, 30).Draw(t, "keys") {
		m.put(t, k)
	}
}

func (m *tableMachine) Delete(t *rapid.T) { m.delete(genTableKey.Draw(t, "key")) }

// Revive deletes a key and puts it again: its dead cell is taken.
func (m *tableMachine) Revive(t *rapid.T) {
	k := genTableKey.Draw(t, "key")
	m.put(t, k)
	before := m.cells[k]
	m.delete(k)
	if m.table.get(k) != nil {
		t.Fatalf("get(%v) finds what was deleted", k)
	}
	if m.put(t, k); m.cells[k] != before {
		t.Fatalf("%v has a new cell beside its dead one", k)
	}
}

// Drain deletes nearly everything; the next rebuild shrinks the array.
func (m *tableMachine) Drain(t *rapid.T) {
	stay := genTableKey.Draw(t, "stay")
	for k := range m.twin {
		if k != stay {
			m.delete(k)
		}
	}
}

func (m *tableMachine) Check(t *rapid.T) {
	array := *m.table.array.Load()
	used, keys := 0, map[Key]bool{}
	for i := range array {
		if c := array[i].Load(); c != nil {
			used++
			k := *c.key.Load()
			if keys[k] {
				t.Fatalf("two cells of %v", k)
			}
			keys[k] = true
		}
	}
	if used != m.table.used || used > len(array)*3/4 {
		t.Fatalf("%d cells in an array of %d, used = %d", used, len(array), m.table.used)
	}
	if m.table.live != len(m.twin) {
		t.Fatalf("live = %d, want %d", m.table.live, len(m.twin))
	}
	part := []string{"", "a", "b", "c", "d", "e", "f", "g", "h", "absent"}
	for _, namespace := range part {
		for _, name := range part {
			k := Key{namespace, name}
			if got := m.table.get(k); got != m.twin[k] {
				t.Fatalf("get(%v) = %p, want %p", k, got, m.twin[k])
			}
		}
	}
	left := len(m.twin)
	for v := range m.table.all() {
		found := false
		for _, w := range m.twin {
			found = found || v == w
		}
		if !found {
			t.Fatalf("all() yields what is not there")
		}
		left--
	}
	if left != 0 {
		t.Fatalf("all() yields %d too few", left)
	}
}

func TestTableSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(newTableMachine()))
	})
}

// TestTableSize follows the array: it grows with what lives, not with what ever
// lived, and shrinks at a rebuild.
func TestTableSize(t *testing.T) {
	tests := []struct {
		name      string
		live      int // keys that stay
		passing   int // keys that come and go afterwards, one at a time
		drain     int // keys deleted at last, before as many others pass by
		wantArray int
	}{
		{"empty", 0, 0, 0, 16},
		{"three quarters of the smallest", 12, 0, 0, 16},
		{"one more", 13, 0, 0, 32},
		{"a thousand", 1000, 0, 0, 2048},
		{"a million pass through one place", 1, 1_000_000, 0, 16},
		{"ten thousand pass by a thousand", 1000, 10_000, 0, 2048},
		{"shrinks", 1000, 0, 990, 32},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var table table[int]
			table.init()
			v := new(int)
			name := func(i int) Key { return Key{"ns", fmt.Sprint(i)} }
			pass := func(n int) {
				for i := range n {
					k := Key{"passing", fmt.Sprint(i)}
					table.put(&k, v)
					table.delete(k)
				}
			}
			for i := range test.live {
				table.put(keyed(name(i)), v)
			}
			pass(test.passing)
			for i := range test.drain {
				table.delete(name(i))
			}
			if test.drain > 0 {
				pass(2 * test.live)
			}
			if got := len(*table.array.Load()); got != test.wantArray {
				t.Errorf("array of %d for %d live ones, want %d", got, table.live, test.wantArray)
			}
		})
	}
}

// TestTableConcurrentReaders reads keys that stay while others come, go, come
// back and cause rebuilds. A reader must find them at every moment, and never
// the value of another key.
func TestTableConcurrentReaders(t *testing.T) {
	const stay, passing = 50, 500
	type value struct{ key Key }
	var table table[value]
	table.init()
	name := func(kind string, i int) Key { return Key{kind, fmt.Sprint(i)} }
	for i := range stay {
		table.put(keyed(name("stay", i)), &value{name("stay", i)})
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				for i := range stay {
					if v := table.get(name("stay", i)); v == nil || v.key != name("stay", i) {
						t.Errorf("get(%v) = %v", name("stay", i), v)
						return
					}
					if v := table.get(name("passing", i)); v != nil && v.key != name("passing", i) {
						t.Errorf("get(%v) = %v", name("passing", i), v)
						return
					}
				}
				n := 0
				for v := range table.all() {
					if v.key.Namespace == "stay" {
						n++
					}
				}
				if n != stay {
					t.Errorf("all() yields %d of %d that stay", n, stay)
					return
				}
				runtime.Gosched()
			}
		})
	}
	for round := range 20 {
		for i := range passing {
			table.put(keyed(name("passing", i+round%3*passing)), &value{name("passing", i+round%3*passing)})
			if i >= 20 {
				table.delete(name("passing", i-20+round%3*passing))
			}
		}
	}
	stop.Store(true)
	readers.Wait()
}

// BenchmarkLookup is the reason for the type table: the same keys and values in it, in
// a sync.Map, and in a map behind a RWMutex.
//
//	go test -run '^$' -bench Lookup -cpu 1,2 ./internal/cluster
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		keys := make([]Key, n)
		for i := range keys {
			keys[i] = Key{fmt.Sprintf("namespace-%d", i%100), fmt.Sprintf("service-%04d", i)}
		}
		entry := &Entry{Service: &Service{}}
		for _, c := range []struct {
			name string
			make func() func(Key) bool
		}{
			{"table", func() func(Key) bool {
				var m table[Entry]
				m.init()
				for _, k := range keys {
					m.put(&k, entry)
				}
				return func(k Key) bool { return m.get(k) != nil }
			}},
			{"syncMap", func() func(Key) bool {
				var m sync.Map
				for _, k := range keys {
					m.Store(k, entry)
				}
				return func(k Key) bool { v, _ := m.Load(k); return v != nil }
			}},
			{"rwMutex", func() func(Key) bool {
				var mu sync.RWMutex
				m := map[Key]*Entry{}
				for _, k := range keys {
					m[k] = entry
				}
				return func(k Key) bool {
					mu.RLock()
					defer mu.RUnlock()
					return m[k] != nil
				}
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				var get func(Key) bool
				bytes := resident(func() any { get = c.make(); return get })
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						if !get(keys[i*7919%n]) {
							b.Error("a key is missing")
							return
						}
					}
				})
				b.ReportMetric(float64(bytes)/float64(n), "B/key")
			})
		}
	}
}
