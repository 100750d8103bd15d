package nftables

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// treatment is what happens to the packets of the frontends in a set. The treatments that forward come first; those
// that refuse do it in hooks of their own, before translation.
type treatment uint8

const (
	noTreatment treatment = iota
	plain
	masqueradeAll
	masqueradeNode // and what is from outside is refused
	masqueradeNodeOutside
	localAll
	masqueradeAllLocalAll
	masqueradeNodeOutsideLocalAll
	masqueradeNodeLocalOutside
	masqueradeNodeLocalPodOutside
	rejectAll
	dropAll
	dropOutside
	dropPodOutside
	treatmentCount
)

// clients are the source classes that a part of a treatment is for.
type clients uint8

const (
	noClients clients = iota
	allClients
	nodeClients
	outsideClients
	nodeOutsideClients
	podOutsideClients
)

// treatments say what each one does: for whom packets are masqueraded, for whom backends of this node are used, and who
// is refused.
var treatments = [treatmentCount]struct {
	name                            string
	masquerade, local, reject, drop clients
}{
	plain:                         {name: "plain"},
	masqueradeAll:                 {name: "masquerade-all", masquerade: allClients},
	masqueradeNode:                {name: "masquerade-node", masquerade: nodeClients},
	masqueradeNodeOutside:         {name: "masquerade-node-outside", masquerade: nodeOutsideClients},
	localAll:                      {name: "local-all", local: allClients},
	masqueradeAllLocalAll:         {name: "masquerade-all-local-all", masquerade: allClients, local: allClients},
	masqueradeNodeOutsideLocalAll: {name: "masquerade-node-outside-local-all", masquerade: nodeOutsideClients, local: allClients},
	masqueradeNodeLocalOutside:    {name: "masquerade-node-local-outside", masquerade: nodeClients, local: outsideClients},
	masqueradeNodeLocalPodOutside: {name: "masquerade-node-local-pod-outside", masquerade: nodeClients, local: podOutsideClients},
	rejectAll:                     {name: "reject-all", reject: allClients},
	dropAll:                       {name: "drop-all", drop: allClients},
	dropOutside:                   {name: "drop-outside", drop: outsideClients},
	dropPodOutside:                {name: "drop-pod-outside", drop: podOutsideClients},
}

// treatmentsOf returns how the frontends of a policy are forwarded and refused.
func treatmentsOf(p vip.Policy) (forward, refuse treatment) {
	switch p {
	case vip.ClusterKeep:
		return plain, noTreatment
	case vip.ClusterPods:
		return masqueradeNodeOutside, noTreatment
	case vip.ClusterMasquerade:
		return masqueradeAll, noTreatment
	case vip.LocalKeep:
		return localAll, noTreatment
	case vip.LocalPods:
		return masqueradeNodeOutsideLocalAll, noTreatment
	case vip.LocalMasquerade:
		return masqueradeAllLocalAll, noTreatment
	case vip.ExternalLocal:
		return masqueradeNodeLocalOutside, noTreatment
	case vip.ExternalLocalDrop:
		return masqueradeNode, dropOutside
	case vip.ExternalLocalNoPods:
		return masqueradeNodeLocalPodOutside, noTreatment
	case vip.ExternalLocalNoPodsDrop:
		return masqueradeNode, dropPodOutside
	case vip.RejectAll:
		return noTreatment, rejectAll
	case vip.DropAll:
		return noTreatment, dropAll
	}
	return noTreatment, noTreatment
}

func (t treatment) forwards() bool { return t < rejectAll }

// group is the frontends that are treated alike: they are in one set, and their
// packets go through one chain. A frontend that forwards some source classes and
// refuses others is in two groups.
type group struct {
	treatment
	node     bool // of NodePorts
	affinity bool // of one that forwards: clients are remembered
}

// isFrontend reports whether a route is what a table has sets of groups for: not the rest
// of an address (see layout.clusterIPs), nor a port that a process of this node answers.
func isFrontend(r *vip.Route) bool { return r.Kind != vip.OtherPorts && r.Kind != vip.HealthCheck }

// refusing returns the group of a route that refuses, if it refuses any class.
func refusing(r *vip.Route) (g group, ok bool) {
	_, t := treatmentsOf(r.Policy)
	return group{treatment: t, node: r.IsNodePort()}, isFrontend(r) && t != noTreatment
}

// forwarding returns the group of a route that forwards, if it forwards any class.
func forwarding(r *vip.Route) (g group, ok bool) {
	t, _ := treatmentsOf(r.Policy)
	return group{t, r.IsNodePort(), r.Affinity != 0}, isFrontend(r) && t != noTreatment
}

// leadsTo reports whether any class is forwarded to a set.
func (g group) leadsTo(s vip.Set) bool {
	switch local := treatments[g.treatment].local; {
	case !g.forwards():
		return false
	case s == vip.Local:
		return local != noClients
	default:
		return local != allClients
	}
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
		return "node-" + g.base()
	}
	return g.base()
}

// chainName is the name of the chain. NodePorts are refused like all others.
func (g group) chainName() string {
	if g.forwards() {
		return g.name()
	}
	return g.base()
}

// base is the name without regard to NodePorts.
func (g group) base() string {
	if g.affinity {
		return "affinity-" + treatments[g.treatment].name
	}
	return treatments[g.treatment].name
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
