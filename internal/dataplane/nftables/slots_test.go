package nftables

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/vip"
)

// backendsFrom draws backends from a small pool, so that sets overlap.
func backendsFrom(t *rapid.T, label string, most int) []vip.Backend {
	var list []vip.Backend
	for i := range most {
		if rapid.Bool().Draw(t, label) {
			list = append(list, vip.Backend{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)})
		}
	}
	return list
}

// TestSlotsAreTheBackends follows a frontend through random sets of backends.
func TestSlotsAreTheBackends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var slots []netip.AddrPort
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			want := backendsFrom(t, "backend", 12)
			now := place(slots, want)
			checkSlots(t, now, want)
			if got, min := writes(slots, now), fewestWrites(slots, want); got != min {
				t.Fatalf("from %v to %v: %d slots written, %d would do: %v", slots, want, got, min, now)
			}
			if o := orderOf(now, want); !slices.Equal(o.slots(want), now) {
				t.Fatalf("order %v of %v gives %v, want %v", o, want, o.slots(want), now)
			}
			slots = now
		}
	})
}

// TestSlotsFromWhatIsFound places over slots that somebody else left: with holes,
// with a backend twice, with strangers.
func TestSlotsFromWhatIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var have []netip.AddrPort
		for range rapid.IntRange(0, 10).Draw(t, "slots") {
			if n := rapid.IntRange(0, 12).Draw(t, "last byte"); n == 12 {
				have = append(have, netip.AddrPort{})
			} else {
				have = append(have, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 80))
			}
		}
		want := backendsFrom(t, "backend", 8)
		now := place(have, want)
		checkSlots(t, now, want)
		if got, min := writes(have, now), fewestWrites(have, want); got != min {
			t.Fatalf("from %v to %v: %d slots written, %d would do: %v", have, want, got, min, now)
		}
	})
}

func TestOneChangeMovesAtMostOneOther(t *testing.T) {
	var all []vip.Backend
	for i := range 5 {
		all = append(all, vip.Backend{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)})
	}
	full := place(nil, all)
	for i := range all {
		without := slices.Delete(slices.Clone(all), i, i+1)
		want := 2 // the last moves into the hole
		if i == len(all)-1 {
			want = 1
		}
		if got := writes(full, place(full, without)); got != want {
			t.Errorf("without slot %d: %d writes, want %d", i, got, want)
		}
	}
}

func checkSlots(t *rapid.T, slots []netip.AddrPort, want []vip.Backend) {
	t.Helper()
	sorted := slices.SortedFunc(slices.Values(slots), netip.AddrPort.Compare)
	var plain []netip.AddrPort
	for _, b := range want {
		plain = append(plain, b.AddrPort)
	}
	if !slices.Equal(sorted, plain) {
		t.Fatalf("slots have %v, want %v", sorted, plain)
	}
}

// writes counts the slots that differ.
func writes(have, now []netip.AddrPort) int {
	n := 0
	for i := range max(len(have), len(now)) {
		var a, b netip.AddrPort
		if i < len(have) {
			a = have[i]
		}
		if i < len(now) {
			b = now[i]
		}
		if a != b {
			n++
		}
	}
	return n
}

// fewestWrites is the slow twin: every backend that is somewhere below the new
// length can stay there, once; all other slots must be written or emptied.
func fewestWrites(have []netip.AddrPort, want []vip.Backend) int {
	stay := map[netip.AddrPort]bool{}
	for i, b := range have {
		if i < len(want) && slices.ContainsFunc(want, func(w vip.Backend) bool { return w.AddrPort == b }) {
			stay[b] = true
		}
	}
	n := len(want) - len(stay)
	for i, b := range have {
		if i >= len(want) && b.IsValid() {
			n++
		}
	}
	return n
}
