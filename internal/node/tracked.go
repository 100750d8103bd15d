package node

import "fmt"

// Tracked holds the number of tracked connections in this network namespace and its limit.
// At the limit, the kernel drops the first packets of new connections: clients see a
// Service that does not answer.
type Tracked struct{ Connections, Limit int }

// ReadTracked reads the numbers. The error wraps fs.ErrNotExist while the kernel tracks nothing, as on a
// node without rules.
func ReadTracked() (Tracked, error) {
	var t Tracked
	var err error
	for name, to := range map[string]*int{trackedNow: &t.Connections, trackedMax: &t.Limit} {
		if *to, err = readNumber("/proc/sys/" + name); err != nil {
			return Tracked{}, fmt.Errorf("reading how many connections are tracked: %w", err)
		}
	}
	return t, nil
}

// Crowded reports whether the table is nearly full. before is the previous result: to
// clear it, the number of connections must fall well below the limit.
func (t Tracked) Crowded(before bool) bool {
	if before {
		return t.Connections*10 > t.Limit*8
	}
	return t.Connections*10 > t.Limit*9
}
