package nftables

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// group is the frontends that are treated alike: they are in one set, and their
// packets go through one chain. A frontend that forwards some source classes and
// refuses others is in two groups: refusal comes first, in hooks of its own.
type group struct {
	decisions [vip.Classes]vip.Decision // backends and masquerading in one that forwards, actions in one that refuses
	node      bool                      // of NodePorts
	affinity  bool                      // of one that forwards: clients are remembered
}

// isFrontend reports whether a route is what a table has sets of groups for: not the rest
// of an address (see layout.clusterIPs), nor a port that a process of this node answers.
func isFrontend(r *vip.Route) bool { return r.Kind != vip.OtherPorts && r.Kind != vip.HealthCheck }

// refusing is the group of a route that refuses, if it refuses any class.
func refusing(r *vip.Route) (g group, ok bool) {
	for c, d := range r.Decisions {
		g.decisions[c].Action = d.Action
	}
	g.node = r.IsNodePort()
	return g, isFrontend(r) && !g.forwards()
}

// forwarding is the group of a route that forwards, if it forwards any class.
func forwarding(r *vip.Route) (g group, ok bool) {
	if !isFrontend(r) {
		return g, false
	}
	first := slices.IndexFunc(r.Decisions[:], forwards)
	if first < 0 {
		return g, false
	}
	g.node, g.affinity = r.IsNodePort(), r.Affinity != 0
	for c, d := range r.Decisions {
		if forwards(d) {
			g.decisions[c] = vip.Decision{Set: d.Set, Masquerade: d.Masquerade}
		} else {
			g.decisions[c].Set = r.Decisions[first].Set // never gets there, so another path must not be made for it
		}
	}
	return g, true
}

func forwards(d vip.Decision) bool { return d.Action == vip.Forward }

// forwards reports whether the group is one that forwards.
func (g group) forwards() bool {
	for _, d := range g.decisions {
		if !forwards(d) {
			return false
		}
	}
	return true
}

// leadsTo reports whether any class is forwarded to a set.
func (g group) leadsTo(s vip.Set) bool {
	for _, d := range g.decisions {
		if d.Set == s {
			return g.forwards()
		}
	}
	return false
}

// classes names the source classes whose decision is such.
func (g group) classes(is func(vip.Decision) bool) []string {
	var names []string
	for c, d := range g.decisions {
		if is(d) {
			names = append(names, vip.Class(c).String())
		}
	}
	return names
}

func masquerades(d vip.Decision) bool { return d.Masquerade }

// acts gives the predicate for decisions with an action.
func acts(a vip.Action) func(vip.Decision) bool {
	return func(d vip.Decision) bool { return d.Action == a }
}

// to gives the predicate for decisions to forward to a set.
func to(s vip.Set) func(vip.Decision) bool {
	return func(d vip.Decision) bool { return d.Action == vip.Forward && d.Set == s }
}

// paths are where the group's chain leads to.
func (g group) paths() []path {
	var list []path
	for _, s := range sets {
		if g.leadsTo(s) {
			list = append(list, path{g.node, s})
		}
	}
	return list
}

// sets are the sets of backends that a decision can mean.
var sets = []vip.Set{vip.Cluster, vip.Local}

// path is the way to one of the sets of backends.
type path struct {
	node bool // of NodePorts
	set  vip.Set
}

// name puts before a name what it is of: node-, local-, node-local-.
func (p path) name(name string) string {
	if p.set == vip.Local {
		name = "local-" + name
	}
	if p.node {
		name = "node-" + name
	}
	return name
}

// name is the name of the set: masquerade-node-outside, reject-all,
// node-masquerade-all, affinity-masquerade-all.
func (g group) name() string {
	if g.node {
		return "node-" + g.treatment()
	}
	return g.treatment()
}

// chainName is the name of the chain. NodePorts are refused like all others.
func (g group) chainName() string {
	if g.forwards() {
		return g.name()
	}
	return g.treatment()
}

func (g group) treatment() string {
	var words []string
	if g.affinity {
		words = []string{"affinity"}
	}
	for _, does := range []struct {
		what string
		is   func(vip.Decision) bool
	}{{"masquerade", masquerades}, {"local", to(vip.Local)}, {"reject", acts(vip.Reject)}, {"drop", acts(vip.Drop)}} {
		classes := g.classes(does.is)
		if len(classes) == int(vip.Classes) {
			classes = []string{"all"}
		}
		if len(classes) > 0 {
			words = append(append(words, does.what), classes...)
		}
	}
	if words == nil || len(words) == 1 && g.affinity {
		words = append(words, "plain")
	}
	return strings.Join(words, "-")
}

// allGroups are all that there could be, by name.
func allGroups() map[string]group {
	all := map[string]group{}
	forward := []vip.Decision{{}, {Masquerade: true}, {Set: vip.Local}, {Set: vip.Local, Masquerade: true}}
	refuse := []vip.Decision{{}, {Action: vip.Reject}, {Action: vip.Drop}}
	for _, choices := range [][]vip.Decision{forward, refuse} {
		for _, pod := range choices {
			for _, node := range choices {
				for _, outside := range choices {
					for _, affinity := range []bool{false, true} {
						g := group{decisions: [vip.Classes]vip.Decision{pod, node, outside}, affinity: affinity}
						if affinity && !g.forwards() {
							continue
						}
						all[g.name()] = g
						g.node = true
						all[g.name()] = g
					}
				}
			}
		}
	}
	return all
}

// class is a map of backends: of the frontends of a protocol with more of them than half its
// size, and not more than that. Sizes are powers of two.
type class struct {
	path
	affinity bool // not of frontends but of Owners, whatever their protocol: see affinity.go
	protocol byte
	size     uint32
}

// maxSlots is how many backends a frontend can have.
const maxSlots = 1 << 16

// sizeFor is the size of the class for so many backends.
func sizeFor(backends int) uint32 {
	return 1 << bits.Len(uint(max(1, backends)-1))
}

// classOf is the class of a route's backends in a set. Those of one with affinity are
// its Owner's.
func classOf(r *vip.Route, s vip.Set) (class, bool) {
	n := len(r.Backends(s))
	if g, ok := forwarding(r); !ok || n == 0 || g.affinity || !g.leadsTo(s) {
		return class{}, false
	}
	return class{path: path{r.IsNodePort(), s}, protocol: byte(r.Protocol), size: sizeFor(n)}, true
}

// name is the name of the map: backends-tcp-8, node-local-backends-tcp-8, affinity-slots-8.
func (c class) name() string {
	if c.affinity {
		return c.path.name("affinity-slots-" + strconv.FormatUint(uint64(c.size), 10))
	}
	return c.path.name(fmt.Sprintf("backends-%s-%d", nft.TransportOf(c.protocol).Name, c.size))
}

// allClasses are all that there could be, by name.
func allClasses() map[string]class {
	all := map[string]class{}
	for size := uint32(1); size <= maxSlots; size *= 2 {
		for _, s := range sets {
			for _, node := range []bool{false, true} {
				for _, t := range nft.Transports {
					c := class{path: path{node, s}, protocol: t.Number, size: size}
					all[c.name()] = c
				}
			}
			c := class{path: path{set: s}, affinity: true, size: size}
			all[c.name()] = c
		}
	}
	return all
}

// ranges is one of the sets about the source ranges of frontends.
type ranges struct {
	node bool // of NodePorts
	bits int  // of the networks in it; restricted: of the frontends that have any ranges
}

// restricted is the set of the frontends that take packets from some networks only.
const restricted = -1

// name is the name of the set: restricted, sources-24, node-sources-32.
func (r ranges) name() string {
	name := "sources-" + strconv.Itoa(r.bits)
	if r.bits == restricted {
		name = "restricted"
	}
	return path{node: r.node}.name(name)
}

// rangesOf are the sets that a route's source ranges need.
func rangesOf(r *vip.Route) []ranges {
	if !isRestricted(r) {
		return nil
	}
	list := []ranges{{r.IsNodePort(), restricted}}
	for _, n := range r.Sources {
		list = append(list, ranges{r.IsNodePort(), n.Bits()})
	}
	return list
}

// isRestricted reports whether some packets are dropped for their source alone.
func isRestricted(r *vip.Route) bool {
	for _, n := range r.Sources {
		if n.Bits() == 0 {
			return false
		}
	}
	return r.Sources != nil && isFrontend(r)
}

// parseRanges finds a set of source ranges by its name.
func parseRanges(name string) (ranges, bool) {
	rest, node := strings.CutPrefix(name, "node-")
	r := ranges{node: node, bits: restricted}
	if length, ok := strings.CutPrefix(rest, "sources-"); ok {
		n, err := strconv.Atoi(length)
		if err != nil {
			return r, false
		}
		r.bits = n
	}
	return r, r.name() == name
}
