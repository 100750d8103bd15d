package healthcheck

import (
	"sync"
	"time"
)

// Family is an IP family by its name in the JSON body.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Health tracks whether pending changes reach the kernel. It is safe for concurrent use.
type Health struct {
	families []Family
	timeout  time.Duration

	mu      sync.Mutex
	adopted bool      // the kernel has rules from before the start
	updated time.Time // when everything was last written; zero: never
	queued  time.Time // since when a change is pending; zero: none is
}

// NewHealth returns the health of a process that routes these families. It becomes healthy
// when the kernel has rules, and unhealthy when a change is pending for longer than timeout.
func NewHealth(timeout time.Duration, families ...Family) *Health {
	return &Health{families: families, timeout: timeout}
}

// Adopted records that the kernel has rules from before the start.
func (h *Health) Adopted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.adopted = true
}

// Queued records that there is something to write.
func (h *Health) Queued() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queued.IsZero() {
		h.queued = time.Now()
	}
}

// Updated records that everything is written.
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

// question selects what a page reports.
type question uint8

const (
	alive  question = iota // no change is pending for too long
	routes                 // alive, and the kernel has rules, adopted ones included
	ready                  // alive, and this process has written the rules
)

// report returns the current answer to a question. It lists no families before the first update.
func (h *Health) report(q question) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	written := !h.updated.IsZero()
	timely := h.queued.IsZero() || now.Sub(h.queued) < h.timeout
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
