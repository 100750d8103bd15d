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
	updated time.Time // when all was written last; zero: never
	queued  time.Time // since when something waits; zero: nothing does
}

// NewHealth returns the health of a process that routes these families. It is in good
// health until something has waited for longer than patience.
func NewHealth(patience time.Duration, families ...Family) *Health {
	return &Health{families: families, patience: patience}
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

// report is the body of /healthz and /livez.
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

// report tells the health now. Before the first update there are no families in it, and
// a process that starts is healthy, as with kube-proxy: its node has rules already or
// gets no traffic yet.
func (h *Health) report() report {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	r := report{LastUpdated: h.updated, CurrentTime: now, Healthy: true}
	if h.updated.IsZero() {
		return r
	}
	r.Healthy = h.queued.IsZero() || now.Sub(h.queued) < h.patience
	r.Status = map[Family]familyReport{}
	for _, f := range h.families {
		r.Status[f] = familyReport{h.updated, r.Healthy}
	}
	return r
}
