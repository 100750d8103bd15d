package node

import "fmt"

// Tracked is how many connections the kernel tracks in this network namespace, and how many
// it can. When it tracks that many, it drops the first packets of others: to a client that
// looks like a Service which does not answer.
type Tracked struct{ Connections, Limit int }

// ReadTracked looks. The error wraps fs.ErrNotExist while the kernel tracks none, as on a node
// that has no rules yet.
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

// Crowded reports whether there is hardly room for more connections. before is what it
// said the time before: a table that has been full must have become a good deal
// emptier.
func (t Tracked) Crowded(before bool) bool {
	if before {
		return t.Connections*10 > t.Limit*8
	}
	return t.Connections*10 > t.Limit*9
}
