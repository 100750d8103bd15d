package nftables

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/vip"
)

func TestLadder(t *testing.T) {
	if len(ladder) > 32 || !slices.IsSorted(ladder[:]) || len(slices.Compact(slices.Clone(ladder[:]))) != len(ladder) {
		t.Fatalf("the ladder is %v, want at most 32 values in order, none twice", ladder)
	}
	for _, exact := range []uint32{1, 10, 30, 60, 125, 300, 600, 900, 1800, 3600, 7200, 10800, 86400} {
		if got := roundedUp(exact); got != exact {
			t.Errorf("%d s is rounded to %d", exact, got)
		}
	}
	for wanted, want := range map[uint32]uint32{0: 1, 4: 5, 61: 90, 121: 125, 301: 450, 3601: 5400, 10801: 14400, 86399: 86400, 1 << 31: 86400} {
		if got := roundedUp(wanted); got != want {
			t.Errorf("%d s is rounded to %d, want %d", wanted, got, want)
		}
	}
}

// TestLadderRoundsUp: a client is never remembered for less than it should, nor for twice as long.
func TestLadderRoundsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint32Range(1, 86400).Draw(t, "a"), rapid.Uint32Range(1, 86400).Draw(t, "b")
		if got := roundedUp(a); got < a || got > 2*a || roundedUp(got) != got || ladder[stepFor(a)] != got {
			t.Fatalf("%d s is rounded to %d", a, got)
		}
		if a < b && roundedUp(a) > roundedUp(b) {
			t.Fatalf("%d s is rounded to %d and %d s to %d", a, roundedUp(a), b, roundedUp(b))
		}
	})
}

func TestLimits(t *testing.T) {
	concerned := func(r *vip.Route) (names []string) {
		for _, l := range limits {
			if l.Concerns(r) {
				names = append(names, l.Name)
			}
		}
		return names
	}
	many := make([]vip.Backend, maxSticky+1)
	for _, row := range []struct {
		route vip.Route
		want  []string
	}{
		{vip.Route{}, nil},
		{vip.Route{Cluster: many}, nil},
		{vip.Route{Affinity: 10800, Cluster: many[1:]}, nil},
		{vip.Route{Affinity: 10801}, []string{"affinity-timeout"}},
		{vip.Route{Affinity: 10800, Cluster: many}, []string{"affinity-backends"}},
		{vip.Route{Affinity: 7, Local: many}, []string{"affinity-timeout", "affinity-backends"}},
	} {
		if got := concerned(&row.route); !slices.Equal(got, row.want) {
			t.Errorf("%d s with %d and %d backends: %q, want %q", row.route.Affinity, len(row.route.Cluster), len(row.route.Local), got, row.want)
		}
	}
}
