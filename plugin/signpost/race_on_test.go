//go:build race

package signpost

const raceEnabled = true
