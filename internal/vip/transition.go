package vip

import (
	"math/bits"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Transition leads a Service from the routes that a Table has to new ones, in steps. Between
// steps every frontend has the old route, the new one, or one in between, whose backends
// are some of the old and some of the new ones. Until it has ended, Set must not be called
// for that Service, or else Advance no more. Make one with Table.Begin.
type Transition struct {
	service cluster.Key
	done    []*Route // are in the Table
	old     []*Route // what the Table has after these
	new     []*Route // what it must have there
}

// Begin returns the Transition to the routes that Set would take.
func (t *Table) Begin(service cluster.Key, routes []*Route) *Transition {
	return &Transition{service: service, old: slices.SortedFunc(slices.Values(t.byService[service]), inSteps), new: slices.SortedFunc(slices.Values(routes), inSteps)}
}

// inSteps orders the routes of a Transition: the rest of an address comes last, so that it
// is not refused while a frontend of the address is missing.
func inSteps(a, b *Route) int {
	if a.IsOtherPorts() != b.IsOtherPorts() {
		if a.IsOtherPorts() {
			return 1
		}
		return -1
	}
	return a.Compare(b.Frontend)
}

// Step is what one step of a Transition did.
type Step struct {
	Changes []Change // as those of Table.Set
	Routes  []*Route // that the Service has now where there may be changes
	Cost    int      // in backends looked at, and frontends
	Done    bool     // that was the last
}

// Advance makes one step. It goes on until the cost is as given, but it takes one frontend
// at least. One with more backends than the cost gets a route in between.
func (t *Table) Advance(tr *Transition, cost int) (s Step) {
	var from []*Route
	for len(tr.old)+len(tr.new) > 0 && s.Cost < cost {
		was, is := tr.next()
		size := 1 + max(was.size(), is.size())
		if s.Cost > 0 && s.Cost+size > cost {
			break
		}
		s.Cost += size
		if was != nil {
			from = append(from, was)
		}
		if via := between(was, is, cost); via != nil {
			s.Routes = append(s.Routes, via)
			if was == nil {
				tr.old = slices.Insert(tr.old, 0, via)
			}
			tr.old[0] = via
			break
		}
		if was != nil {
			tr.old = tr.old[1:]
		}
		if is != nil {
			s.Routes, tr.done, tr.new = append(s.Routes, is), append(tr.done, is), tr.new[1:]
		}
	}
	s.Changes = t.replace(tr.service, from, s.Routes, slices.Concat(tr.done, tr.old))
	s.Done = len(tr.old)+len(tr.new) == 0
	return s
}

// next is what the first frontend has, and what it must have; nil is nothing.
func (tr *Transition) next() (was, is *Route) {
	switch {
	case len(tr.old) == 0:
		return nil, tr.new[0]
	case len(tr.new) == 0:
		return tr.old[0], nil
	}
	switch c := inSteps(tr.old[0], tr.new[0]); {
	case c < 0:
		return tr.old[0], nil
	case c > 0:
		return nil, tr.new[0]
	}
	return tr.old[0], tr.new[0]
}

// size is how many backends a route has; a nil route has none.
func (r *Route) size() int {
	if r == nil {
		return 0
	}
	return len(r.Cluster) + len(r.Local)
}

// between returns a route on the way from one to another, most backends further; nil if
// there is none, and the other may follow. Either may be nil.
func between(was, is *Route, most int) *Route {
	head := is
	if is.size() == 0 {
		head = was
	}
	if was.size() <= most && is.size() <= most || head == nil {
		return nil
	}
	via, more := *head, false
	for _, s := range []Set{Cluster, Local} {
		var have, want []Backend
		if was != nil {
			have = was.Backends(s)
		}
		if is != nil {
			want = is.Backends(s)
		}
		list, further := toward(have, want, most)
		if !further && head == was {
			list = have // it must not be empty; the last step removes it
		}
		if further && head == is && len(want) == 0 {
			list, further = nil, false // no class is forwarded there
		}
		more = more || further
		if s == Cluster {
			via.Cluster = list
		} else {
			via.Local = list
		}
	}
	if !more {
		return nil
	}
	return &via
}

// toward replaces at most so many of the backends of one list by those of another. It
// reports whether more are to follow. A list on the way has more than half of the next power
// of two of the longer one: the nftables mode keeps backends by that size, and moves all
// of them where it changes.
func toward(have, want []Backend, most int) (list []Backend, further bool) {
	least := 1 << bits.Len(uint(max(len(have), len(want), 1)-1)) / 2
	gone, come := differences(have, want)
	k := most
	size := func(k int) int { return len(have) - min(k, gone) + min(k, come) }
	if size(k) <= least {
		if come <= gone {
			return want, false
		}
		k = max(k, least+1-len(have)+gone)
	}
	if k >= max(gone, come) {
		return want, false
	}
	list = make([]Backend, 0, size(k))
	g, c := 0, 0 // the differences so far
	merge(have, want, func(a, b *Backend) {
		switch {
		case b == nil:
			if g++; g > k {
				list = append(list, *a)
			}
		case a == nil:
			if c++; c <= k {
				list = append(list, *b)
			}
		default:
			list = append(list, *b)
		}
	})
	return list, true
}

// differences counts the backends of one list that another lacks, and those that it adds.
func differences(have, want []Backend) (gone, come int) {
	merge(have, want, func(a, b *Backend) {
		if b == nil {
			gone++
		}
		if a == nil {
			come++
		}
	})
	return gone, come
}

// merge calls f for each address of two sorted lists, with nil where a list lacks it.
func merge(a, b []Backend, f func(a, b *Backend)) {
	for len(a)+len(b) > 0 {
		switch {
		case len(b) == 0:
			f(&a[0], nil)
			a = a[1:]
			continue
		case len(a) == 0:
			f(nil, &b[0])
			b = b[1:]
			continue
		}
		switch c := a[0].Compare(b[0].AddrPort); {
		case c < 0:
			f(&a[0], nil)
			a = a[1:]
		case c > 0:
			f(nil, &b[0])
			b = b[1:]
		default:
			f(&a[0], &b[0])
			a, b = a[1:], b[1:]
		}
	}
}
