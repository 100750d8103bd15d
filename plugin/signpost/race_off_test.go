//go:build !race

package signpost

const raceEnabled = false
