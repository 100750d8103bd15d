package source

import (
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Status tells how fresh the objects of one kind are. The feeds (packages kube and
// manifest) fill it in; it is here because their readers take either.
type Status struct {
	Kind      cluster.Kind
	Synced    bool      // the first complete picture has arrived
	LastEvent time.Time // when the source last said something: an object, a bookmark, a list
	Failing   bool      // the source does not answer now; what is known is kept
	Failures  uint64    // attempts that failed since the start
	LastError string    // of the last failure; stays after recovery
}
