package vip

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Budget divides the room of a node among namespaces. While all claims fit, each Service
// gets what it claims. Otherwise the largest namespaces are cut to a common level, and no
// smaller namespace loses anything. Within a namespace that is cut the oldest Services get
// their claims first. What each gets follows from the claims alone, in whatever order they
// came, so that all nodes leave out the same. Make one with NewBudget. Not safe for
// concurrent use.
type Budget struct {
	shares [resources]share
	spaces map[string]*space
}

// resource is one of the two numbers of a Room.
type resource uint8

const (
	ofFrontends resource = iota
	ofBackends
	resources
)

func (r Room) of(what resource) int {
	if what == ofFrontends {
		return r.Frontends
	}
	return r.Backends
}

// share is one resource of a Budget.
type share struct {
	most  int
	total int    // of all claims
	level int    // the most that a namespace may have
	sums  []size // of namespaces, sorted
}

// size is how much a namespace claims.
type size struct {
	sum  int
	name string
}

func (s size) compare(o size) int {
	return cmp.Or(cmp.Compare(s.sum, o.sum), cmp.Compare(s.name, o.name))
}

// space is a namespace.
type space struct {
	stakes map[string]stake // by the name of the Service
	sums   [resources]int
	short  [resources]map[string]int // the Services that get less than they claim
}

// stake is what one Service claims.
type stake struct {
	created uint32
	Room
}

// NewBudget returns a Budget that has no claims yet.
func NewBudget(most Room) *Budget {
	b := &Budget{spaces: map[string]*space{}}
	for what := range resources {
		b.shares[what] = share{most: most.of(what), level: math.MaxInt}
	}
	return b
}

// Set makes a claim that of a Service, and returns other Services whose room is not what it
// was. Without a claim the Service is forgotten. The cost is constant while all fits; then
// it is that of the namespaces that are cut.
func (b *Budget) Set(service cluster.Key, created uint32, c Room) (others []cluster.Key) {
	s := b.spaces[service.Namespace]
	if s == nil {
		s = &space{stakes: map[string]stake{}}
	}
	before := s.stakes[service.Name]
	if before == (stake{created, c}) || before.Room == (Room{}) && c == (Room{}) {
		return nil
	}
	s.stakes[service.Name] = stake{created, c}
	if c == (Room{}) {
		delete(s.stakes, service.Name)
	}
	b.spaces[service.Namespace] = s
	for what := range resources {
		others = append(others, b.resize(what, service.Namespace, c.of(what)-before.of(what))...)
	}
	if len(s.stakes) == 0 {
		delete(b.spaces, service.Namespace)
	}
	others = slices.DeleteFunc(others, func(k cluster.Key) bool { return k == service })
	slices.SortFunc(others, func(a, b cluster.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(others)
}

// resize changes the sum of a namespace, and divides what must be divided anew. It returns
// the Services whose part changes.
func (b *Budget) resize(what resource, namespace string, by int) (differ []cluster.Key) {
	s, all := b.spaces[namespace], &b.shares[what]
	all.move(size{s.sums[what], namespace}, size{s.sums[what] + by, namespace})
	s.sums[what] += by
	before := all.level
	all.level = all.cut()
	differ = s.divide(what, namespace, all.level)
	if all.level == before {
		return differ
	}
	for _, at := range slices.Backward(all.sums) {
		if at.sum <= min(before, all.level) {
			break // neither cut now nor before
		}
		differ = append(differ, b.spaces[at.name].divide(what, at.name, all.level)...)
	}
	return differ
}

// move replaces a size; 0 is none.
func (a *share) move(from, to size) {
	if from.sum != 0 {
		at, _ := slices.BinarySearchFunc(a.sums, from, size.compare)
		a.sums = slices.Delete(a.sums, at, at+1)
	}
	if to.sum != 0 {
		at, _ := slices.BinarySearchFunc(a.sums, to, size.compare)
		a.sums = slices.Insert(a.sums, at, to)
	}
	a.total += to.sum - from.sum
}

// cut returns the level at which all fits. It is rounded down, by less than a 64th, so that
// it seldom changes.
func (a *share) cut() int {
	if a.total <= a.most {
		return math.MaxInt
	}
	rest := a.total // of those that are not cut
	for i, at := range slices.Backward(a.sums) {
		rest -= at.sum
		level := (a.most - rest) / (len(a.sums) - i)
		if i == 0 || rest <= a.most && level >= a.sums[i-1].sum {
			level = max(level, 0)
			return level &^ (1<<max(bits.Len(uint(level))-7, 0) - 1)
		}
	}
	return 0
}

// divide gives a namespace no more than a level, and returns whose part changes.
func (s *space) divide(what resource, namespace string, level int) (differ []cluster.Key) {
	before := s.short[what]
	s.short[what] = nil
	if s.sums[what] > level {
		s.short[what] = s.shortfalls(what, level)
	}
	for name, n := range s.short[what] {
		if was, ok := before[name]; !ok || was != n {
			differ = append(differ, cluster.Key{Namespace: namespace, Name: name})
		}
	}
	for name := range before {
		if _, still := s.short[what][name]; !still {
			differ = append(differ, cluster.Key{Namespace: namespace, Name: name})
		}
	}
	return differ
}

// shortfalls are the Services that get less than they claim if the namespace has a level.
func (s *space) shortfalls(what resource, level int) map[string]int {
	names := slices.SortedFunc(maps.Keys(s.stakes), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.stakes[a].created, s.stakes[b].created), cmp.Compare(a, b))
	})
	short := map[string]int{}
	for _, name := range names {
		n := s.stakes[name].of(what)
		if n > level {
			short[name] = level
		}
		level -= min(n, level)
	}
	return short
}

// Room returns what a Service gets: AllRoom if that is all that it claims.
func (b *Budget) Room(service cluster.Key) Room {
	r := AllRoom
	s := b.spaces[service.Namespace]
	if s == nil {
		return r
	}
	if n, short := s.short[ofFrontends][service.Name]; short {
		r.Frontends = n
	}
	if n, short := s.short[ofBackends][service.Name]; short {
		r.Backends = n
	}
	return r
}

// Claimed returns what a Service claims.
func (b *Budget) Claimed(service cluster.Key) Room {
	if s := b.spaces[service.Namespace]; s != nil {
		return s.stakes[service.Name].Room
	}
	return Room{}
}
