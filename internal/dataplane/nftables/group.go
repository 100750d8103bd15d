package nftables

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/signpost-dns/signpost/internal/vip"
)

// group is the frontends that are treated alike: they are in one set, and their
// packets go through one chain. A frontend that forwards some source classes and
// refuses others is in two groups: refusal comes first, in hooks of its own.
type group struct {
	decisions [vip.Classes]vip.Decision // masquerading in one that forwards, actions in one that refuses
	node      bool                      // of NodePorts
}

// groupsOf are the groups of a route.
func groupsOf(r *vip.Route) []group {
	var groups []group
	if r.Kind == vip.OtherPorts || r.Kind == vip.HealthCheck {
		return nil // not built yet
	}
	forward, refuse := group{node: r.IsNodePort()}, group{node: r.IsNodePort()}
	forwards := false
	for c, d := range r.Decisions {
		refuse.decisions[c].Action = d.Action
		if d.Action == vip.Forward {
			forwards = true
			forward.decisions[c].Masquerade = d.Masquerade
		}
	}
	if forwards && len(r.Cluster) > 0 {
		groups = append(groups, forward)
	}
	if !refuse.forwards() {
		groups = append(groups, refuse)
	}
	return groups
}

// forwards reports whether the group is one that forwards.
func (g group) forwards() bool {
	return len(g.classes(func(d vip.Decision) bool { return d.Action != vip.Forward })) == 0
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

// name is the name of the set: masquerade-node-outside, reject-all, node-masquerade-all.
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
	for _, does := range []struct {
		what string
		is   func(vip.Decision) bool
	}{{"masquerade", masquerades}, {"reject", acts(vip.Reject)}, {"drop", acts(vip.Drop)}} {
		classes := g.classes(does.is)
		if len(classes) == int(vip.Classes) {
			classes = []string{"all"}
		}
		if len(classes) > 0 {
			words = append(append(words, does.what), classes...)
		}
	}
	if words == nil {
		return "plain"
	}
	return strings.Join(words, "-")
}

// allGroups are all that there could be, by name.
func allGroups() map[string]group {
	all := map[string]group{}
	choices := []vip.Decision{{}, {Masquerade: true}, {Action: vip.Reject}, {Action: vip.Drop}}
	for _, pod := range choices {
		for _, node := range choices {
			for _, outside := range choices {
				g := group{decisions: [vip.Classes]vip.Decision{pod, node, outside}}
				if len(g.classes(masquerades)) > 0 && !g.forwards() {
					continue // there would be two groups
				}
				all[g.name()] = g
				g.node = true
				all[g.name()] = g
			}
		}
	}
	return all
}

// class is the frontends of a protocol with more backends than half its size, and
// not more than that: sizes are powers of two. Their backends are in one map.
type class struct {
	node     bool // of NodePorts
	protocol byte
	size     uint32
}

// maxSlots is how many backends a frontend can have.
const maxSlots = 1 << 16

func classOf(r *vip.Route) class {
	n := max(1, len(r.Cluster))
	return class{r.IsNodePort(), byte(r.Protocol), 1 << bits.Len(uint(n-1))}
}

// name is the name of the map: backends-tcp-8, node-backends-tcp-8.
func (c class) name() string {
	prefix := ""
	if c.node {
		prefix = "node-"
	}
	return fmt.Sprintf("%sbackends-%s-%d", prefix, transportOf(c.protocol).name, c.size)
}

// allClasses are all that there could be, by name.
func allClasses() map[string]class {
	all := map[string]class{}
	for _, t := range transports {
		for size := uint32(1); size <= maxSlots; size *= 2 {
			for _, node := range []bool{false, true} {
				c := class{node, t.number, size}
				all[c.name()] = c
			}
		}
	}
	return all
}
