package hostile

import (
	"math/rand/v2"
)

// dice decide what happens in one state. The same seed decides the same.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 15))} }

// chance is true in so many of a hundred cases.
func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// pick is one of a list.
func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

// between is a number from low to high, both included.
func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }
