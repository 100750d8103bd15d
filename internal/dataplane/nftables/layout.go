package nftables

import (
	"cmp"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// set is a set or map of nft.
type set struct {
	name     string
	key      []field
	value    []field // of a map
	interval bool
	dynamic  bool   // packets add to it, and the kernel deletes elements when their time is over
	places   uint32 // of a dynamic one: how many elements an Owner can have
	rank     rank
	class    class // of a map of backends
}

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
	*family
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

func newLayout(f *family, host dataplane.Host) *layout {
	l := &layout{
		family: f, host: host,
		hairpin:      &set{name: "hairpin", key: []field{f.source(), f.destination()}},
		nodeAddrs:    &set{name: "node-addrs", key: []field{f.destination()}},
		podCIDRs:     &set{name: "pod-cidrs", key: []field{f.source()}, interval: true},
		clusterIPs:   &set{name: "cluster-ips", key: []field{f.destination()}, rank: restRank},
		serviceCIDRs: &set{name: "service-cidrs", key: []field{f.destination()}, interval: true},
		groups:       map[group]*set{}, classes: map[class]*set{}, ranges: map[ranges]*set{},
		proven: clientSet("affinity", places), begun: clientSet("affinity-begun", begunPlaces), other: clientSet("affinity-other", places),
		owners: map[bool]*set{}, backends: map[vip.Set]*set{},
	}
	for _, node := range []bool{false, true} {
		l.owners[node] = &set{
			name: path{node: node}.name("affinity-ports"), rank: ownerRank,
			key: l.frontendFields(node), value: []field{priority()},
		}
	}
	for _, s := range sets {
		l.backends[s] = &set{
			name: path{set: s}.name("affinity-backends"),
			key:  []field{priority()}, value: []field{f.destination(), anyPort()},
		}
	}
	return l
}

// clientSet is a map of backends by the places of clients.
func clientSet(name string, places uint32) *set {
	return &set{name: name, dynamic: true, places: places, key: []field{priority(), draw(maxSlots)}, value: []field{priority()}}
}

// frontendFields are the parts of a frontend, in a packet.
func (l *layout) frontendFields(node bool) []field {
	fields := []field{l.destination(), protocol(), anyPort()}
	if node {
		return fields[1:]
	}
	return fields
}

// groupSet is the set of the frontends of a group.
func (l *layout) groupSet(g group) *set {
	s, ok := l.groups[g]
	if !ok {
		s = &set{name: g.name(), key: l.frontendFields(g.node), rank: refuseRank}
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
		s = &set{name: c.name(), class: c}
		if c.affinity {
			s.key, s.value = []field{priority(), draw(maxSlots)}, []field{priority()}
		} else {
			port := transportOf(c.protocol).port()
			s.key, s.value = []field{l.destination(), port, draw(maxSlots)}, []field{l.destination(), port}
		}
		if c.node {
			s.key = s.key[1:]
		}
		l.classes[c] = s
	}
	return s
}

// rangesSet is one of the sets of source ranges.
func (l *layout) rangesSet(r ranges) *set {
	s, ok := l.ranges[r]
	if !ok {
		s = &set{name: r.name(), key: l.frontendFields(r.node), rank: restrictRank}
		if r.bits != restricted {
			s.key, s.rank = append(s.key, l.sourceNetwork(r.bits)), sourceRank
		}
		l.ranges[r] = s
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
			for _, t := range transports {
				for _, c := range m.classesOf(path{node, s}, t.number) {
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

// chain is a chain with its rules. A base chain has a hook.
type chain struct {
	name  string
	hook  *hook
	rules []phrase
}

// hook is where a base chain sits. The text is what nft lists.
type hook struct {
	kind, where string
	number      uint32
	priority    int32
	text        string
}

var (
	natPrerouting    = &hook{"nat", "prerouting", unix.NF_INET_PRE_ROUTING, -100, "dstnat"}
	natOutput        = &hook{"nat", "output", unix.NF_INET_LOCAL_OUT, -100, "-100"}
	natPostrouting   = &hook{"nat", "postrouting", unix.NF_INET_POST_ROUTING, 100, "srcnat"}
	filterPrerouting = &hook{"filter", "prerouting", unix.NF_INET_PRE_ROUTING, -110, "dstnat - 10"}
	filterOutput     = &hook{"filter", "output", unix.NF_INET_LOCAL_OUT, -110, "-110"}
	restPrerouting   = &hook{"filter", "prerouting", unix.NF_INET_PRE_ROUTING, -90, "dstnat + 10"}
	restOutput       = &hook{"filter", "output", unix.NF_INET_LOCAL_OUT, -90, "-90"}
)

// chains are all chains of a table, in the order in which they are listed.
func (l *layout) chains(m made) []chain {
	services := jump("services")
	refuse, rest := rule(isNew, jump("refuse")), rule(isNew, jump("rest"))
	toNode := l.toNode()
	all := []chain{
		{"prerouting", natPrerouting, []phrase{services}},
		{"output", natOutput, []phrase{services}},
		{"postrouting", natPostrouting, []phrase{l.masqueradeMarked(), l.masqueradeHairpin()}},
		{"refuse-prerouting", filterPrerouting, []phrase{refuse}},
		{"refuse-output", filterOutput, []phrase{refuse}},
		{"rest-prerouting", restPrerouting, append(l.proofs(m, false), rest)},
		{"rest-output", restOutput, append(l.proofs(m, true), rest)},
		{"services", nil, append(l.dispatch(m, true, false), rule(toNode, goTo("node-ports")))},
		{"node-ports", nil, l.dispatch(m, true, true)},
		{"refuse", nil, slices.Concat(l.restrict(m, false), l.dispatch(m, false, false), []phrase{rule(toNode, goTo("refuse-node-ports"))})},
		{"refuse-node-ports", nil, slices.Concat(l.restrict(m, true), l.dispatch(m, false, true))},
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
func (l *layout) dispatch(m made, forwards, node bool) []phrase {
	var rules []phrase
	for _, g := range m.inOrder(func(g group) bool { return g.forwards() == forwards && g.node == node }) {
		s, to := l.groupSet(g), goTo(g.chainName())
		if !forwards {
			to = jump(g.chainName())
		}
		rules = append(rules, rule(concat(s.key...), s.contains(true), to))
	}
	return rules
}
