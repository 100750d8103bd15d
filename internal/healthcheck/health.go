package healthcheck

import (
	"sync"
	"time"
)

// Family is an IP family by the name that it has in the JSON.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Health tells whether what should be in the kernel gets there. Safe for concurrent use.
type Health struct {
	families []Family
	patience time.Duration

	mu      sync.Mutex
	adopted bool      // the kernel has had rules since before the start
	updated time.Time // when all was written last; zero: never
	queued  time.Time // since when something waits; zero: nothing does
}

// NewHealth returns the health of a process that routes these families. It is in good
// health once the kernel has rules, until something has waited for longer than patience.
func NewHealth(patience time.Duration, families ...Family) *Health {
	return &Health{families: families, patience: patience}
}

// Adopted says that the kernel has rules from before the start, by which the node routes.
func (h *Health) Adopted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.adopted = true
}

// Queued says that there is something to write.
func (h *Health) Queued() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queued.IsZero() {
		h.queued = time.Now()
	}
}

// Updated says that all there was to write is written.
func (h *Health) Updated() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.updated, h.queued = time.Now(), time.Time{}
}

// report is the body of /healthz, /livez and /readyz.
type report struct {
	LastUpdated  time.Time               `json:"lastUpdated"`
	CurrentTime  time.Time               `json:"currentTime"`
	NodeEligible *bool                   `json:"nodeEligible,omitempty"`
	Healthy      bool                    `json:"healthy"`
	Status       map[Family]familyReport `json:"status,omitempty"`
}

type familyReport struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// question is what a page asks of the health.
type question uint8

const (
	alive  question = iota // writes do not fail for too long
	routes                 // alive, and the kernel has rules, adopted ones count
	ready                  // alive, and this process has written them
)

// report answers a question now. Before the first update there are no families in it.
func (h *Health) report(q question) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	written := !h.updated.IsZero()
	timely := h.queued.IsZero() || now.Sub(h.queued) < h.patience
	r := report{LastUpdated: h.updated, CurrentTime: now}
	switch q {
	case alive:
		r.Healthy = timely
	case routes:
		r.Healthy = timely && (written || h.adopted)
	case ready:
		r.Healthy = timely && written
	}
	if written {
		r.Status = map[Family]familyReport{}
		for _, f := range h.families {
			r.Status[f] = familyReport{h.updated, timely}
		}
	}
	return r
}
