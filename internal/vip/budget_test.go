package vip

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// twinStake is a Service with what it claims.
type twinStake struct {
	cluster.Key
	stake
}

// twinRooms divides a room anew: the level is looked for from above.
func twinRooms(all []twinStake, most Room) map[cluster.Key]Room {
	rooms := map[cluster.Key]Room{}
	for _, s := range all {
		rooms[s.Key] = AllRoom
	}
	for what := range resources {
		sums, total, highest := map[string]int{}, 0, 0
		for _, s := range all {
			sums[s.Namespace] += s.of(what)
			total += s.of(what)
			highest = max(highest, sums[s.Namespace])
		}
		if total <= most.of(what) {
			continue
		}
		fits := func(level int) bool {
			n := 0
			for _, sum := range sums {
				n += min(sum, level)
			}
			return n <= most.of(what)
		}
		level := highest
		for !fits(level) {
			level--
		}
		for bits.Len(uint(level)) > 7 && level%(1<<(bits.Len(uint(level))-7)) != 0 {
			level--
		}
		left := map[string]int{}
		for namespace := range sums {
			left[namespace] = level
		}
		slices.SortFunc(all, func(a, b twinStake) int {
			return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.Name, b.Name))
		})
		for _, s := range all {
			get := min(s.of(what), left[s.Namespace])
			left[s.Namespace] -= get
			if r := rooms[s.Key]; get < s.of(what) {
				if what == ofFrontends {
					r.Frontends = get
				} else {
					r.Backends = get
				}
				rooms[s.Key] = r
			}
		}
	}
	return rooms
}

// TestBudgetIsOfTheClaimsAlone holds a Budget against a division from nothing: after each
// change every Service has the same room, and Set names those whose room changed.
func TestBudgetIsOfTheClaimsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.SampledFrom([]int{1, 40}).Draw(t, "scale")
		most := Room{Frontends: 10 * scale, Backends: 30 * scale}
		b := NewBudget(most)
		stakes := map[cluster.Key]twinStake{}
		have := map[cluster.Key]Room{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			k := cluster.Key{
				Namespace: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "namespace"),
				Name:      rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"),
			}
			s := stake{uint32(rapid.IntRange(1, 2).Draw(t, "created")), Room{
				rapid.IntRange(0, 6*scale).Draw(t, "frontends"), rapid.IntRange(0, 20*scale).Draw(t, "backends"),
			}}
			told := b.Set(k, s.created, s.Room)
			stakes[k] = twinStake{k, s}
			if s.Room == (Room{}) {
				delete(stakes, k)
			}
			want := twinRooms(slices.Collect(maps.Values(stakes)), most)
			for other := range stakes {
				got := b.Room(other)
				if got != want[other] {
					t.Fatalf("room of %v: got %v, want %v of %v", other, got, want[other], stakes)
				}
				if before, known := have[other]; known && other != k && before != got != slices.Contains(told, other) {
					t.Fatalf("room of %v: was %v, is %v, told of %v", other, before, got, told)
				}
			}
			have = want
			if b.Claimed(k) != s.Room {
				t.Fatalf("claim of %v: got %v, want %v", k, b.Claimed(k), s.Room)
			}
		}
		for k := range stakes {
			b.Set(k, 0, Room{})
		}
		if len(b.spaces) != 0 || len(b.shares[ofBackends].sums) != 0 || b.shares[ofFrontends].total != 0 {
			t.Fatalf("left without a claim: %+v", b)
		}
	})
}

// TestBudgetCutsTheLargestNamespace pins the rule by an example.
func TestBudgetCutsTheLargestNamespace(t *testing.T) {
	b := NewBudget(Room{Frontends: 100, Backends: 128})
	key := func(namespace, name string) cluster.Key { return cluster.Key{Namespace: namespace, Name: name} }
	b.Set(key("small", "web"), 9, Room{1, 40})
	b.Set(key("large", "new"), 3, Room{1, 50})
	b.Set(key("large", "old"), 1, Room{1, 50})
	b.Set(key("large", "middle"), 2, Room{1, 50})
	for name, want := range map[string]int{"old": 50, "middle": 38, "new": 0} {
		got := b.Room(key("large", name)).Backends
		if name == "old" && got != AllRoom.Backends || name != "old" && got != want {
			t.Errorf("backends of %s: got %d, want %d", name, got, want)
		}
	}
	if got := b.Room(key("small", "web")); got != AllRoom {
		t.Errorf("room of the small namespace: got %v, want all", got)
	}
	if told := b.Set(key("small", "web"), 9, Room{}); fmt.Sprint(told) != "[large/middle large/new]" {
		t.Errorf("told of %v, want middle and new", told)
	}
}
