package kube

import (
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// holdback is how long an address stays after the API removed it from a slice. The
// EndpointSlice controller writes one slice after another, so an address that it moves may
// disappear from one slice before it appears in the other: for the duration of one request,
// a few milliseconds. A longer time would only keep dead addresses.
//
// After that, the next event removes the address as well, because for a reader two changes
// at once cost hardly more than one. No address waits for an event longer than slack.
const (
	holdback = 8 * time.Millisecond
	slack    = 4 * time.Millisecond
)

// holder decides what the Store shows of EndpointSlices: additions and changes at once, but
// a pod that leaves its Service stays in its slice for holdback, even if other pods have its
// address. Later events for the slice replace earlier ones; a pod that returns is no longer
// held.
//
// It is pure: events and times go in, changes come out. An event costs as much as its slice
// has endpoints; due costs as much as is due.
type holder struct {
	slices map[cluster.Key]*heldSlice
	queue  []deadline // ordered by time, because holdback is constant
}

// heldSlice is a slice that the Store shows with more endpoints than the API.
type heldSlice struct {
	last      *cluster.Slice // the slice in the API; nil: deleted
	base      *cluster.Slice // provides the ports of held endpoints while last is nil
	endpoints []heldEndpoint // not in last
}

type heldEndpoint struct {
	cluster.Endpoint
	until time.Time
}

type deadline struct {
	key   cluster.Key
	until time.Time
}

// change is an update for the Store: the slice, or nil for its removal.
type change struct {
	key   cluster.Key
	slice *cluster.Slice
}

func newHolder() *holder { return &holder{slices: map[cluster.Key]*heldSlice{}} }

// event processes the slice as the API shows it, nil for deleted. e is the Service as the
// Store shows it, or nil.
func (h *holder) event(now time.Time, key cluster.Key, next *cluster.Slice, e *cluster.Entry) change {
	shown := find(e, key)
	if shown == nil || next != nil && next.Service != shown.Service {
		delete(h.slices, key)
		return change{key, next}
	}
	before := h.slices[key]
	held := &heldSlice{last: next, base: shown}
	fresh := false
	for _, ep := range shown.Endpoints {
		if !ep.Has(cluster.Ready) && !ep.Has(cluster.Serving) || lists(next, &ep) || h.elsewhere(e, key, &ep) {
			continue
		}
		until := before.until(&ep)
		if until.IsZero() {
			until, fresh = now.Add(holdback), true
		}
		held.endpoints = append(held.endpoints, heldEndpoint{ep, until})
	}
	if held.endpoints == nil {
		delete(h.slices, key)
		return change{key, next}
	}
	h.slices[key] = held
	if fresh {
		h.queue = append(h.queue, deadline{key, now.Add(holdback)})
	}
	return change{key, held.merged()}
}

// lists reports whether a slice, which may be nil, has the pod at this address. An endpoint
// without pod is identified by its hostname.
func lists(s *cluster.Slice, ep *cluster.Endpoint) bool {
	return s != nil && slices.ContainsFunc(s.At(ep.Addr), func(o cluster.Endpoint) bool { return samePod(&o, ep) })
}

func samePod(a, b *cluster.Endpoint) bool {
	return a.Addr == b.Addr && a.Pod == b.Pod && (a.Pod != 0 || a.Hostname == b.Hostname)
}

// elsewhere reports whether another slice of the Service has the pod, other than as a held
// endpoint.
func (h *holder) elsewhere(e *cluster.Entry, key cluster.Key, ep *cluster.Endpoint) bool {
	for _, other := range e.Slices {
		if other.Key != key && lists(other, ep) && h.slices[other.Key].until(ep).IsZero() {
			return true
		}
	}
	return false
}

// due returns the changes whose deadline has passed.
func (h *holder) due(now time.Time) []change {
	var out []change
	for len(h.queue) > 0 && !h.queue[0].until.After(now) {
		key := h.queue[0].key
		h.queue = h.queue[1:]
		held := h.slices[key]
		if held == nil {
			continue
		}
		count := len(held.endpoints)
		held.endpoints = slices.DeleteFunc(held.endpoints, func(ep heldEndpoint) bool { return !ep.until.After(now) })
		switch len(held.endpoints) {
		case count: // a later event replaced it
		case 0:
			delete(h.slices, key)
			out = append(out, change{key, held.last})
		default:
			out = append(out, change{key, held.merged()})
		}
	}
	return out
}

// holds reports whether the Store shows more of the slice than the API.
func (h *holder) holds(key cluster.Key) bool { return h.slices[key] != nil }

// next returns when to call due if no event comes first; false if nothing is held.
func (h *holder) next() (time.Time, bool) {
	if len(h.queue) == 0 {
		return time.Time{}, false
	}
	return h.queue[0].until.Add(slack), true
}

// forget drops all held endpoints, because a fresh list is complete.
func (h *holder) forget() { *h = *newHolder() }

// until returns when a held endpoint is removed; zero if it is not held.
func (s *heldSlice) until(ep *cluster.Endpoint) time.Time {
	if s != nil {
		for i := range s.endpoints {
			if samePod(&s.endpoints[i].Endpoint, ep) {
				return s.endpoints[i].until
			}
		}
	}
	return time.Time{}
}

// merged returns the slice with the held endpoints.
func (s *heldSlice) merged() *cluster.Slice {
	of, endpoints := s.base, []cluster.Endpoint(nil)
	if s.last != nil {
		of, endpoints = s.last, slices.Clone(s.last.Endpoints)
	}
	for _, ep := range s.endpoints {
		endpoints = append(endpoints, ep.Endpoint)
	}
	return cluster.NewSlice(of.Key, of.Service, of.Version, of.Ports, endpoints)
}

// find returns a slice of the entry, or nil.
func find(e *cluster.Entry, key cluster.Key) *cluster.Slice {
	if e == nil {
		return nil
	}
	for _, s := range e.Slices {
		if s.Key == key {
			return s
		}
	}
	return nil
}
