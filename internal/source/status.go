package source

import (
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Status describes how fresh the objects of one kind are. The feeds (packages kube and
// manifest) fill it in. It is defined here because their users work with either.
type Status struct {
	Kind      cluster.Kind
	Synced    bool      // the first complete list has arrived
	LastEvent time.Time // last contact with the source: an object, a bookmark, a list
	Failing   bool      // the source does not respond; known objects are kept
	Failures  uint64    // failed attempts since the start
	LastError string    // of the last failure; kept after recovery
}
