package nftables

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// maxSlots is how many backends a frontend can have.
const maxSlots = 1 << 16

// set is a set or map of nft.
type set struct {
	name     string
	key      []field
	value    []field // of a map of backends
	verdicts bool    // a map from key to verdict
	byTypeof bool    // declared by expressions and not by types: nft has no type name for a slot
	interval bool
	protocol byte   // of a map of backends
	limit    uint32 // most elements, 0: no limit; for tests
}

// sets are the sets and maps of a table. Their number is fixed.
type sets struct {
	frontends, nodePorts         *set
	refused, refusedNodePorts    *set
	backends, nodeBackends       map[byte]*set // by protocol number
	hairpin, nodeAddrs, podCIDRs *set
	all                          []*set // in the order in which they are listed
}

func newSets(f *family) *sets {
	frontend := []field{f.destination(), protocol(), anyPort()}
	nodePort := []field{protocol(), anyPort()}
	s := &sets{
		frontends:        &set{name: "frontends", key: frontend, verdicts: true},
		nodePorts:        &set{name: "nodeports", key: nodePort, verdicts: true},
		refused:          &set{name: "refused", key: frontend, verdicts: true},
		refusedNodePorts: &set{name: "refused-nodeports", key: nodePort, verdicts: true},
		hairpin:          &set{name: "hairpin", key: []field{f.source(), f.destination()}},
		nodeAddrs:        &set{name: "node-addrs", key: []field{f.destination()}},
		podCIDRs:         &set{name: "pod-cidrs", key: []field{f.source()}, interval: true},
		backends:         map[byte]*set{},
		nodeBackends:     map[byte]*set{},
	}
	s.all = []*set{s.frontends, s.nodePorts, s.refused, s.refusedNodePorts, s.hairpin, s.nodeAddrs, s.podCIDRs}
	for _, t := range transports {
		slot := draw(maxSlots)
		to := []field{f.destination(), t.port()}
		s.backends[t.number] = &set{
			name: "backends-" + t.name, key: []field{f.destination(), t.port(), slot}, value: to, byTypeof: true,
			protocol: t.number,
		}
		s.nodeBackends[t.number] = &set{
			name: "node-backends-" + t.name, key: []field{t.port(), slot}, value: to, byTypeof: true,
			protocol: t.number,
		}
		s.all = append(s.all, s.backends[t.number], s.nodeBackends[t.number])
	}
	return s
}

// chain is a chain with its rules. A base chain has a hook.
type chain struct {
	name     string
	hook     *hook
	rules    []phrase
	comments []string // one for each rule, if any
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

// layout is everything in a table but elements and the chains made on demand.
type layout struct {
	*family
	*sets
	mark  uint32 // the bit that asks for masquerading
	base  []chain
	names map[target]string // a cache: see nameOf
}

// layoutVersion changes whenever the layout does: tables of another version are
// built anew when they are adopted. A test holds it against a digest of the layout.
const layoutVersion = 1

func newLayout(f *family, mark uint32) *layout {
	l := &layout{family: f, sets: newSets(f), mark: mark, names: map[target]string{}}
	refuse := rule(say("ct state new", ctBit(expr.CtKeySTATE, expr.CtStateBitNEW)...), jump("refuse"))
	frontends := []phrase{
		rule(concat(l.frontends.key...), l.frontends.vmap()),
		rule(l.toNode(), concat(l.nodePorts.key...), l.nodePorts.vmap()),
	}
	l.base = []chain{
		{name: "prerouting", hook: natPrerouting, rules: frontends},
		{name: "output", hook: natOutput, rules: frontends},
		{name: "postrouting", hook: natPostrouting, rules: []phrase{l.masqueradeMarked(), l.masqueradeHairpin()},
			comments: []string{"what a frontend's chain marked", "a pod that reached itself through a frontend"}},
		{name: "refuse-prerouting", hook: filterPrerouting, rules: []phrase{refuse}},
		{name: "refuse-output", hook: filterOutput, rules: []phrase{refuse}},
		{name: "refuse", rules: []phrase{
			rule(concat(l.refused.key...), l.refused.vmap()),
			rule(l.toNode(), concat(l.refusedNodePorts.key...), l.refusedNodePorts.vmap()),
		}},
	}
	return l
}

// title is the comment of the table: it tells whose it is, and which layout.
func (l *layout) title() string {
	return fmt.Sprintf("Service routing by signpost, layout %d, mark 0x%08x", layoutVersion, l.mark)
}

// vmap looks the preceding concatenation up in a map of verdicts.
func (s *set) vmap() phrase {
	return say("vmap @"+s.name, &expr.Lookup{
		SourceRegister: unix.NFT_REG_1, SetName: s.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT,
	})
}

// contains matches if the preceding concatenation is in the set, or is not in it.
func (s *set) contains(yes bool) phrase {
	return say("@"+s.name, &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: s.name, Invert: !yes})
}

// toNode matches packets to an address of this node that serves NodePorts.
func (l *layout) toNode() phrase { return rule(concat(l.destination()), l.nodeAddrs.contains(true)) }

func jump(chain string) phrase {
	return say("jump "+chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
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

// masqueradeMarked masquerades what a frontend's chain asked for, and takes the
// mark off: a tunnel would carry it along to its own packets.
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
