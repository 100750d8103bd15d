package nftables

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// set is a set or map of nft.
type set struct {
	name     string
	key      []field
	value    []field // of a map of backends; else it is a set
	interval bool
	protocol byte // of a map of backends, whose keys do not say it
}

// layout is what a table consists of, but for the elements. Three sets are always
// there. Groups and classes are made when the first frontend needs them.
type layout struct {
	*family
	mark                         uint32 // the bit that asks for masquerading
	hairpin, nodeAddrs, podCIDRs *set
	groups                       map[group]*set // by need: see groupSet
	classes                      map[class]*set // by need: see classSet
}

// title is the comment of the table.
const title = "Services of this node, kept by signpost: changes by others are undone"

func newLayout(f *family, mark uint32) *layout {
	return &layout{
		family: f, mark: mark,
		hairpin:   &set{name: "hairpin", key: []field{f.source(), f.destination()}},
		nodeAddrs: &set{name: "node-addrs", key: []field{f.destination()}},
		podCIDRs:  &set{name: "pod-cidrs", key: []field{f.source()}, interval: true},
		groups:    map[group]*set{},
		classes:   map[class]*set{},
	}
}

// groupSet is the set of the frontends of a group.
func (l *layout) groupSet(g group) *set {
	s, ok := l.groups[g]
	if !ok {
		s = &set{name: g.name(), key: []field{l.destination(), protocol(), anyPort()}}
		if g.node {
			s.key = s.key[1:]
		}
		l.groups[g] = s
	}
	return s
}

// classSet is the map of the backends of a class.
func (l *layout) classSet(c class) *set {
	s, ok := l.classes[c]
	if !ok {
		port := transportOf(c.protocol).port()
		s = &set{
			name: c.name(), protocol: c.protocol,
			key: []field{l.destination(), port, draw(maxSlots)}, value: []field{l.destination(), port},
		}
		if c.node {
			s.key = s.key[1:]
		}
		l.classes[c] = s
	}
	return s
}

// made is what was made on demand in a table.
type made struct {
	groups  map[group]bool
	classes map[class]bool
}

func newMade() made { return made{map[group]bool{}, map[class]bool{}} }

func (m made) clone() made { return made{maps.Clone(m.groups), maps.Clone(m.classes)} }

func (m made) equal(o made) bool {
	return maps.Equal(m.groups, o.groups) && maps.Equal(m.classes, o.classes)
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

// classesOf are the classes of a protocol by size.
func (m made) classesOf(node bool, protocol byte) []class {
	var list []class
	for c := range m.classes {
		if c.node == node && c.protocol == protocol {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b class) int { return cmp.Compare(a.size, b.size) })
	return list
}

// sets are all sets and maps of a table, in the order in which they are listed.
func (l *layout) sets(m made) []*set {
	all := []*set{l.nodeAddrs, l.podCIDRs, l.hairpin}
	for _, g := range m.inOrder(func(group) bool { return true }) {
		all = append(all, l.groupSet(g))
	}
	for _, node := range []bool{false, true} {
		for _, t := range transports {
			for _, c := range m.classesOf(node, t.number) {
				all = append(all, l.classSet(c))
			}
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
)

// chains are all chains of a table, in the order in which they are listed.
func (l *layout) chains(m made) []chain {
	services := jump("services")
	refuse := rule(say("ct state new", ctBit(expr.CtKeySTATE, expr.CtStateBitNEW)...), jump("refuse"))
	toNode := rule(concat(l.destination()), l.nodeAddrs.contains(true))
	all := []chain{
		{"prerouting", natPrerouting, []phrase{services}},
		{"output", natOutput, []phrase{services}},
		{"postrouting", natPostrouting, []phrase{l.masqueradeMarked(), l.masqueradeHairpin()}},
		{"refuse-prerouting", filterPrerouting, []phrase{refuse}},
		{"refuse-output", filterOutput, []phrase{refuse}},
		{"services", nil, append(l.dispatch(m, true, false), rule(toNode, goTo("node-ports")))},
		{"node-ports", nil, l.dispatch(m, true, true)},
		{"refuse", nil, append(l.dispatch(m, false, false), rule(toNode, goTo("refuse-node-ports")))},
		{"refuse-node-ports", nil, l.dispatch(m, false, true)},
	}
	named := map[string]bool{}
	for _, g := range m.inOrder(func(group) bool { return true }) {
		if !named[g.chainName()] {
			named[g.chainName()] = true
			all = append(all, l.groupChain(g))
		}
	}
	for _, node := range []bool{false, true} {
		all = append(all, l.forwardChains(m, node)...)
	}
	return all
}

// dispatch sends the frontends of each group to the chain of the group.
func (l *layout) dispatch(m made, forwards, node bool) []phrase {
	var rules []phrase
	for _, g := range m.inOrder(func(g group) bool { return g.forwards() == forwards && g.node == node }) {
		s := l.groupSet(g)
		rules = append(rules, rule(concat(s.key...), s.contains(true), goTo(g.chainName())))
	}
	return rules
}

// contains matches if the preceding concatenation is in the set, or is not in it.
func (s *set) contains(yes bool) phrase {
	return say("@"+s.name, &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: s.name, Invert: !yes})
}

func jump(chain string) phrase {
	return say("jump "+chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

func goTo(chain string) phrase {
	return say("goto "+chain, &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

// ctBit matches if a bit is set in something that conntrack knows of the packet.
func ctBit(key expr.CtKey, bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: unix.NFT_REG_1},
		bitwise(bit, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: native(0)},
	}
}

// bitwise sets the first register to (itself & mask) ^ xor.
func bitwise(mask, xor uint32) expr.Any {
	return &expr.Bitwise{
		SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: native(mask), Xor: native(xor),
	}
}

var masquerade = say("masquerade fully-random", &expr.Masq{FullyRandom: true})

// masqueradeMarked masquerades what a group's chain asked for, and takes the mark
// off: a tunnel would carry it along to its own packets.
func (l *layout) masqueradeMarked() phrase {
	load := &expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}
	return rule(
		say(fmt.Sprintf("meta mark & 0x%08x == 0x%08x", l.mark, l.mark),
			load, bitwise(l.mark, 0), &expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(l.mark)}),
		say(fmt.Sprintf("meta mark set meta mark & 0x%08x", ^l.mark),
			load, bitwise(^l.mark, 0), &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1}),
		masquerade,
	)
}

// masqueradeHairpin masquerades what a pod sends to a frontend that leads back to
// it: it would not take an answer from its own address.
func (l *layout) masqueradeHairpin() phrase {
	return rule(
		say("ct status dnat", ctBit(expr.CtKeySTATUS, ctStatusDNAT)...),
		concat(l.source(), l.destination()), l.hairpin.contains(true),
		masquerade,
	)
}

// ctStatusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ctStatusDNAT = 1 << 5
