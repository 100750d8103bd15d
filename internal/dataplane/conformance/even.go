//go:build linux

package conformance

import "math"

// samples are how many connections tell whether backends share them evenly. A
// dataplane that prefers some of five by half as much again is found out.
const (
	samples      = 2000
	shortSamples = 400
)

// uneven reports whether counts are so far from equal that a fair draw gives the like
// once in a million times (Pearson's chi-square test).
func uneven(counts []int) bool {
	n := 0
	for _, c := range counts {
		n += c
	}
	want := float64(n) / float64(len(counts))
	sum := 0.0
	for _, c := range counts {
		sum += (float64(c) - want) * (float64(c) - want) / want
	}
	return len(counts) > 1 && sum > chiSquareMillionth(len(counts)-1)
}

// chiSquareMillionth is what a chi-square distribution of so many degrees of freedom
// exceeds once in a million times, by the approximation of Wilson and Hilferty.
func chiSquareMillionth(degrees int) float64 {
	const z = 4.7534 // the same of the normal distribution
	k := 2 / (9 * float64(degrees))
	return float64(degrees) * math.Pow(1-k+z*math.Sqrt(k), 3)
}

// enough is how many connections it takes to miss one of so many backends once
// in a billion times.
func enough(backends int) int {
	if backends < 2 {
		return backends
	}
	n := float64(backends)
	return int(math.Ceil(math.Log(n*1e9) / -math.Log(1-1/n)))
}
