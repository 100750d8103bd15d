package nftables

import "sort"

// ladder is for how many seconds clients can be remembered. Each value has rules of its own, so
// there must be few: a timeout between two of them is rounded up. The values that people use
// and that Kubernetes' own tests use (125) are exact.
var ladder = [...]uint32{
	1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 125, 180, 240, 300, 450,
	600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 14400, 21600, 28800, 36000, 43200, 64800, 86400,
}

// stepFor returns the place on the ladder of the timeout that clients get for a wanted one, which is
// not shorter. The API allows none longer than the last.
func stepFor(seconds uint32) uint16 {
	at := sort.Search(len(ladder), func(i int) bool { return ladder[i] >= seconds })
	return uint16(min(at, len(ladder)-1))
}

// roundedUp returns the timeout that clients get for a wanted one.
func roundedUp(seconds uint32) uint32 { return ladder[stepFor(seconds)] }
