package nftables

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// set is a set or map of a table.
type set struct {
	nft.Set
	parts  []part // of the key
	places uint32 // of a dynamic one: how many elements an Owner can have
	rank   rank
	class  class // of a map of backends
}

func newSet(name string, key, value []nft.Field) *set {
	s := &set{Set: nft.Set{Name: name, Key: key, Value: value}}
	for _, f := range key {
		s.parts = append(s.parts, partOf(f.Type))
	}
	return s
}

// fields are the parts of a key or value.
func fields(list ...nft.Field) []nft.Field { return list }

// rank orders the sets that a frontend is in: it enters those of a lower rank first
// and leaves them last, so that a packet finds everything that its frontend needs.
type rank uint8

const (
	sourceRank   rank = iota // networks that a frontend takes packets from
	restrictRank             // that it takes none from others
	ownerRank                // which Owner's clients are remembered
	refuseRank               // from whom it is refused
	groupRank                // how it is forwarded
	restRank                 // that no other frontend of the address is there: after all of them
)

// layout is what a table consists of, but for the elements. Some sets are always
// there; others are made when the first frontend needs them.
type layout struct {
	*nft.Family
	host                                                   dataplane.Host
	hairpin, nodeAddrs, podCIDRs, clusterIPs, serviceCIDRs *set

	// Of session affinity: see affinity.go. They are made with the first group that has it.
	proven, begun, other *set             // clients
	owners               map[bool]*set    // by whether they are NodePorts'
	backends             map[vip.Set]*set // by number

	groups  map[group]*set  // by need: see groupSet
	classes map[class]*set  // by need: see classSet
	ranges  map[ranges]*set // by need: see rangesSet
}

// title is the comment of the table.
const title = "Services of this node, kept by signpost: changes by others are undone"

func newLayout(f *nft.Family, host dataplane.Host) *layout {
	l := &layout{
		Family: f, host: host,
		hairpin:      newSet("hairpin", fields(f.Source(), f.Destination()), nil),
		nodeAddrs:    newSet("node-addrs", fields(f.Destination()), nil),
		podCIDRs:     newSet("pod-cidrs", fields(f.Source()), nil),
		clusterIPs:   newSet("cluster-ips", fields(f.Destination()), nil),
		serviceCIDRs: newSet("service-cidrs", fields(f.Destination()), nil),
		groups:       map[group]*set{}, classes: map[class]*set{}, ranges: map[ranges]*set{},
		proven: clientSet("affinity", places, maxClients), other: clientSet("affinity-other", places, maxClients),
		begun:  clientSet("affinity-begun", begunPlaces, maxBegun),
		owners: map[bool]*set{}, backends: map[vip.Set]*set{},
	}
	l.podCIDRs.Interval, l.serviceCIDRs.Interval = true, true
	l.clusterIPs.rank = restRank
	for _, node := range []bool{false, true} {
		l.owners[node] = newSet(path{node: node}.name("affinity-ports"), l.frontendFields(node), fields(nft.Priority()))
		l.owners[node].rank = ownerRank
	}
	for _, s := range sets {
		l.backends[s] = newSet(path{set: s}.name("affinity-backends"), fields(nft.Priority()), fields(f.Destination(), nft.Port()))
	}
	return l
}

// clientSet is a map of backends by the places of clients, with room for so many.
func clientSet(name string, places, size uint32) *set {
	s := newSet(name, fields(nft.Priority(), nft.Random(maxSlots)), fields(nft.Priority()))
	s.Dynamic, s.Typeof, s.Size, s.places = true, true, size, places
	return s
}

// frontendFields are the parts of a frontend, in a packet.
func (l *layout) frontendFields(node bool) []nft.Field {
	all := fields(l.Destination(), nft.Protocol(), nft.Port())
	if node {
		return all[1:]
	}
	return all
}

// groupSet is the set of the frontends of a group.
func (l *layout) groupSet(g group) *set {
	s, ok := l.groups[g]
	if !ok {
		s = newSet(g.name(), l.frontendFields(g.node), nil)
		s.rank = refuseRank
		if g.forwards() {
			s.rank = groupRank
		}
		l.groups[g] = s
	}
	return s
}

// classSet is the map of the backends of a class.
func (l *layout) classSet(c class) *set {
	s, ok := l.classes[c]
	if !ok {
		key, value := fields(nft.Priority(), nft.Random(maxSlots)), fields(nft.Priority())
		if !c.affinity {
			port := nft.TransportOf(c.protocol).Port()
			key, value = fields(l.Destination(), port, nft.Random(maxSlots)), fields(l.Destination(), port)
		}
		if c.node {
			key = key[1:]
		}
		s = newSet(c.name(), key, value)
		s.class, s.Typeof = c, true // nft has no name for the type of a slot
		l.classes[c] = s
	}
	return s
}

// rangesSet is one of the sets of source ranges.
func (l *layout) rangesSet(r ranges) *set {
	s, ok := l.ranges[r]
	if !ok {
		s = newSet(r.name(), l.frontendFields(r.node), nil)
		s.rank = restrictRank
		if r.bits != restricted {
			s.Key, s.parts, s.rank = append(s.Key, l.sourceNetwork(r.bits)), append(s.parts, sourcePart), sourceRank
		}
		l.ranges[r] = s
	}
	return s
}

// sourceNetwork is the network of so many bits that a packet comes from.
func (l *layout) sourceNetwork(bits int) nft.Field {
	s := l.Source()
	if bits < l.Addr.Size*8 {
		mask := l.Mask(bits)
		text, _ := netip.AddrFromSlice(mask)
		s = s.And(mask, text.String())
	}
	return s
}

// made is what was made on demand in a table.
type made struct {
	groups  map[group]bool
	classes map[class]bool
	ranges  map[ranges]bool

	timeouts map[uint32]bool // of affinity, in seconds
}

func newMade() made {
	return made{map[group]bool{}, map[class]bool{}, map[ranges]bool{}, map[uint32]bool{}}
}

func (m made) clone() made {
	return made{maps.Clone(m.groups), maps.Clone(m.classes), maps.Clone(m.ranges), maps.Clone(m.timeouts)}
}

func (m made) equal(o made) bool {
	return maps.Equal(m.groups, o.groups) && maps.Equal(m.classes, o.classes) && maps.Equal(m.ranges, o.ranges) &&
		maps.Equal(m.timeouts, o.timeouts)
}

// add adds what o has.
func (m made) add(o made) {
	maps.Copy(m.groups, o.groups)
	maps.Copy(m.classes, o.classes)
	maps.Copy(m.ranges, o.ranges)
	maps.Copy(m.timeouts, o.timeouts)
}

// inOrder are the groups by name, so that the same table has the same rules.
func (m made) inOrder(which func(group) bool) []group {
	var list []group
	for g := range m.groups {
		if which(g) {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b group) int { return cmp.Compare(a.name(), b.name()) })
	return list
}

// classesOf are the classes of a path and protocol by size.
func (m made) classesOf(p path, protocol byte) []class {
	return m.classesWith(func(c class) bool { return !c.affinity && c.path == p && c.protocol == protocol })
}

// classesWith are some of the classes by size.
func (m made) classesWith(which func(class) bool) []class {
	var list []class
	for c := range m.classes {
		if which(c) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b class) int { return cmp.Compare(a.size, b.size) })
	return list
}

// rangesOf are the sets of source ranges, the largest networks first.
func (m made) rangesOf(node bool) []ranges {
	var list []ranges
	for r := range m.ranges {
		if r.node == node {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b ranges) int { return cmp.Compare(a.bits, b.bits) })
	return list
}

// leads reports whether there is a group without affinity with this path.
func (m made) leads(p path) bool {
	for g := range m.groups {
		if !g.affinity && slices.Contains(g.paths(), p) {
			return true
		}
	}
	return false
}

// timeoutsInOrder are the timeouts of affinity.
func (m made) timeoutsInOrder() []uint32 { return slices.Sorted(maps.Keys(m.timeouts)) }

// sets are all sets and maps of a table, in the order in which they are listed.
func (l *layout) sets(m made) []*set {
	all := []*set{l.nodeAddrs, l.podCIDRs, l.hairpin, l.clusterIPs, l.serviceCIDRs}
	for _, node := range []bool{false, true} {
		for _, r := range m.rangesOf(node) {
			all = append(all, l.rangesSet(r))
		}
	}
	for _, g := range m.inOrder(func(group) bool { return true }) {
		all = append(all, l.groupSet(g))
	}
	for _, node := range []bool{false, true} {
		for _, s := range sets {
			for _, t := range nft.Transports {
				for _, c := range m.classesOf(path{node, s}, t.Number) {
					all = append(all, l.classSet(c))
				}
			}
		}
	}
	if m.remembers() {
		all = append(all, l.proven, l.begun, l.other, l.owners[false], l.owners[true], l.backends[vip.Cluster], l.backends[vip.Local])
	}
	for _, s := range sets {
		for _, c := range m.classesWith(func(c class) bool { return c.affinity && c.set == s }) {
			all = append(all, l.classSet(c))
		}
	}
	return all
}

var (
	natPrerouting    = &nft.Hook{Type: "nat", Name: "prerouting", Number: unix.NF_INET_PRE_ROUTING, Priority: -100, Text: "dstnat"}
	natOutput        = &nft.Hook{Type: "nat", Name: "output", Number: unix.NF_INET_LOCAL_OUT, Priority: -100, Text: "-100"}
	natPostrouting   = &nft.Hook{Type: "nat", Name: "postrouting", Number: unix.NF_INET_POST_ROUTING, Priority: 100, Text: "srcnat"}
	filterPrerouting = &nft.Hook{Type: "filter", Name: "prerouting", Number: unix.NF_INET_PRE_ROUTING, Priority: -110, Text: "dstnat - 10"}
	filterOutput     = &nft.Hook{Type: "filter", Name: "output", Number: unix.NF_INET_LOCAL_OUT, Priority: -110, Text: "-110"}
	restPrerouting   = &nft.Hook{Type: "filter", Name: "prerouting", Number: unix.NF_INET_PRE_ROUTING, Priority: -90, Text: "dstnat + 10"}
	restOutput       = &nft.Hook{Type: "filter", Name: "output", Number: unix.NF_INET_LOCAL_OUT, Priority: -90, Text: "-90"}
)

// chains are all chains of a table, in the order in which they are listed.
func (l *layout) chains(m made) []nft.Chain {
	services := nft.Jump("services")
	refuse, rest := nft.Rule(nft.IsNew, nft.Jump("refuse")), nft.Rule(nft.IsNew, nft.Jump("rest"))
	toNode := l.toNode()
	all := []nft.Chain{
		{Name: "prerouting", Hook: natPrerouting, Rules: []nft.Statement{services}},
		{Name: "output", Hook: natOutput, Rules: []nft.Statement{services}},
		{Name: "postrouting", Hook: natPostrouting, Rules: []nft.Statement{l.masqueradeMarked(), l.masqueradeHairpin()}},
		{Name: "refuse-prerouting", Hook: filterPrerouting, Rules: []nft.Statement{refuse}},
		{Name: "refuse-output", Hook: filterOutput, Rules: []nft.Statement{refuse}},
		{Name: "rest-prerouting", Hook: restPrerouting, Rules: append(l.proofs(m, false), rest)},
		{Name: "rest-output", Hook: restOutput, Rules: append(l.proofs(m, true), rest)},
		{Name: "services", Rules: append(l.dispatch(m, true, false), nft.Rule(toNode, nft.Goto("node-ports")))},
		{Name: "node-ports", Rules: l.dispatch(m, true, true)},
		{Name: "refuse", Rules: slices.Concat(l.restrict(m, false), l.dispatch(m, false, false), []nft.Statement{nft.Rule(toNode, nft.Goto("refuse-node-ports"))})},
		{Name: "refuse-node-ports", Rules: slices.Concat(l.restrict(m, true), l.dispatch(m, false, true))},
		l.restChain(m),
	}
	for _, node := range []bool{false, true} {
		all = append(all, l.sourceChains(m, node)...)
	}
	named := map[string]bool{}
	for _, g := range m.inOrder(func(group) bool { return true }) {
		if !named[g.chainName()] {
			named[g.chainName()] = true
			all = append(all, l.groupChain(g))
		}
	}
	for _, node := range []bool{false, true} {
		for _, s := range sets {
			all = append(all, l.forwardChains(m, path{node, s})...)
		}
	}
	for _, s := range sets {
		all = append(all, l.affinityChains(m, s)...)
	}
	return append(all, l.memoryChains(m)...)
}

// dispatch sends the frontends of each group to the chain of the group. For a moment one
// may be in two groups that refuse, and then both count.
func (l *layout) dispatch(m made, forwards, node bool) []nft.Statement {
	var rules []nft.Statement
	for _, g := range m.inOrder(func(g group) bool { return g.forwards() == forwards && g.node == node }) {
		s, to := l.groupSet(g), nft.Goto(g.chainName())
		if !forwards {
			to = nft.Jump(g.chainName())
		}
		rules = append(rules, nft.Rule(nft.Concat(s.Key...), s.contains(), to))
	}
	return rules
}
