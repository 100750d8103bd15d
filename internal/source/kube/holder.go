package kube

import (
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// holdback is how long an address stays after the API took it from a slice. The
// EndpointSlice controller writes slice after slice, and an address that it moves
// may be gone from the one before it is in the other: by the time of one request,
// a few milliseconds. Longer would only keep dead addresses.
//
// After that the next event takes the address along, for a reader that has to act on two
// changes has hardly more to do than for one. No address waits for one longer than slack.
const (
	holdback = 8 * time.Millisecond
	slack    = 4 * time.Millisecond
)

// holder decides what the Store is told about EndpointSlices: additions and
// changes at once, but a pod that would leave its Service stays in its slice
// for holdback, whichever other pods have its address. Later events for the slice take the place of
// earlier ones; a pod that came back is held no more.
//
// It is pure: events and the time go in, changes come out. An event costs as much
// as its slice has endpoints, and what is due costs what is due.
type holder struct {
	slices map[cluster.Key]*heldSlice
	queue  []deadline // in the order of time, since holdback is constant
}

// heldSlice is a slice that the Store shows with more than the API says.
type heldSlice struct {
	last      *cluster.Slice // what the API says; nil: it is deleted
	base      *cluster.Slice // whose ports the held endpoints have while last is nil
	endpoints []heldEndpoint // that last does not have
}

type heldEndpoint struct {
	cluster.Endpoint
	until time.Time
}

type deadline struct {
	key   cluster.Key
	until time.Time
}

// change is what the Store must be told: the slice, or with nil that it is gone.
type change struct {
	key   cluster.Key
	slice *cluster.Slice
}

func newHolder() *holder { return &holder{slices: map[cluster.Key]*heldSlice{}} }

// event takes what the API says about a slice, nil for deleted. The entry is the
// Service as the Store shows it, nil if it does not.
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

// lists reports whether a slice, which may be nil, has that pod at that address. A pod
// that is not known is known by its hostname.
func lists(s *cluster.Slice, ep *cluster.Endpoint) bool {
	return s != nil && slices.ContainsFunc(s.At(ep.Addr), func(o cluster.Endpoint) bool { return samePod(&o, ep) })
}

func samePod(a, b *cluster.Endpoint) bool {
	return a.Addr == b.Addr && a.Pod == b.Pod && (a.Pod != 0 || a.Hostname == b.Hostname)
}

// elsewhere reports whether another slice of the Service has the pod, other than
// by being held there.
func (h *holder) elsewhere(e *cluster.Entry, key cluster.Key, ep *cluster.Endpoint) bool {
	for _, other := range e.Slices {
		if other.Key != key && lists(other, ep) && h.slices[other.Key].until(ep).IsZero() {
			return true
		}
	}
	return false
}

// due returns the changes whose time has come.
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
		case count: // later events took over
		case 0:
			delete(h.slices, key)
			out = append(out, change{key, held.last})
		default:
			out = append(out, change{key, held.merged()})
		}
	}
	return out
}

// holds reports whether the slice is shown with more than the API says.
func (h *holder) holds(key cluster.Key) bool { return h.slices[key] != nil }

// next is when due is to be called if no event comes before; false when nothing is held.
func (h *holder) next() (time.Time, bool) {
	if len(h.queue) == 0 {
		return time.Time{}, false
	}
	return h.queue[0].until.Add(slack), true
}

// forget drops everything: a fresh list says how it is.
func (h *holder) forget() { *h = *newHolder() }

// until is when a held endpoint goes; zero if it is not held.
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

// merged is what the Store shows: the slice and the endpoints held.
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
