package nftables

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// target is a chain that frontends lead to: one for all that are treated alike. It
// is made when the first frontend needs it.
type target struct {
	decisions [vip.Classes]vip.Decision // only what the chain acts on
	nodePort  bool
	protocol  byte // 0 in a chain that refuses
	class     uint32
}

// forwarding is the target of a frontend whose packets go to a backend, and false
// if none do.
func forwarding(r *vip.Route) (target, bool) {
	t := target{nodePort: r.IsNodePort(), protocol: byte(r.Protocol), class: classOf(len(r.Backends))}
	forwards := false
	for c, d := range r.Decisions {
		if d.Action == vip.Forward {
			forwards = true
			t.decisions[c].Masquerade = d.Masquerade
		}
	}
	return t, forwards && len(r.Backends) > 0
}

// refusing is the target of a frontend that refuses packets of some class, and
// false if it refuses none.
func refusing(r *vip.Route) (target, bool) {
	t := target{}
	refuses := false
	for c, d := range r.Decisions {
		t.decisions[c].Action = d.Action
		refuses = refuses || d.Action != vip.Forward
	}
	return t, refuses
}

// classOf is the smallest power of two that has room for n backends.
func classOf(n int) uint32 { return 1 << bits.Len(uint(max(n, 1)-1)) }

// name is the name of the chain: masquerade-node-outside-tcp-8, reject-all.
func (t target) name() string {
	if t.protocol == 0 {
		return t.refusal()
	}
	prefix := ""
	if t.nodePort {
		prefix = "node-"
	}
	return fmt.Sprintf("%s%s-%s-%d", prefix, t.masquerading(), transportOf(t.protocol).name, t.class)
}

// nameOf is t.name, made once.
func (l *layout) nameOf(t target) string {
	name, ok := l.names[t]
	if !ok {
		name = t.name()
		l.names[t] = name
	}
	return name
}

// masquerading names what the chain does to source addresses.
func (t target) masquerading() string {
	classes := t.classes(func(d vip.Decision) bool { return d.Masquerade })
	switch len(classes) {
	case 0:
		return "plain"
	case int(vip.Classes):
		return "masquerade"
	}
	return "masquerade-" + strings.Join(classes, "-")
}

// refusal names whom the chain refuses, and how.
func (t target) refusal() string {
	var words []string
	for _, action := range []vip.Action{vip.Reject, vip.Drop} {
		classes := t.classes(func(d vip.Decision) bool { return d.Action == action })
		if len(classes) == int(vip.Classes) {
			classes = []string{"all"}
		}
		if len(classes) > 0 {
			words = append(words, (vip.Decision{Action: action}).String())
			words = append(words, classes...)
		}
	}
	return strings.Join(words, "-")
}

func (t target) classes(is func(vip.Decision) bool) []string {
	var names []string
	for c, d := range t.decisions {
		if is(d) {
			names = append(names, vip.Class(c).String())
		}
	}
	return names
}

// chain is the chain of a target.
func (l *layout) chain(t target) chain {
	c := chain{name: t.name()}
	if t.protocol == 0 {
		for _, action := range []vip.Action{vip.Reject, vip.Drop} {
			from := l.from(t.classes(func(d vip.Decision) bool { return d.Action == action }))
			for _, match := range from {
				c.rules = append(c.rules, l.refuse(match, action)...)
			}
		}
		return c
	}
	for _, match := range l.from(t.classes(func(d vip.Decision) bool { return d.Masquerade })) {
		c.rules = append(c.rules, rule(match, l.setMark()))
	}
	for _, limit := range t.draws() {
		c.rules = append(c.rules, l.forward(t, limit))
	}
	return c
}

// maxDraws is how often a chain draws a slot from its whole class. A draw misses
// with less than one half, so all miss once in 65,536 connections.
const maxDraws = 16

// draws are the limits below which the chain draws slots, one after the other
// until there is a backend. A frontend has more backends than half its class, so
// the last draw, from the lower half, never misses.
func (t target) draws() []uint32 {
	if t.class <= 2 {
		return []uint32{t.class} // all slots are taken
	}
	var limits []uint32
	for range maxDraws {
		limits = append(limits, t.class)
	}
	return append(limits, t.class/2)
}

// from matches packets of the given source classes: one phrase each, of which at
// least one matches. A packet may match two of them.
func (l *layout) from(classes []string) []phrase {
	pod := func(yes bool) phrase {
		return rule(say(l.source().text+not(yes), concat(l.source()).exprs...), l.podCIDRs.contains(yes))
	}
	switch strings.Join(classes, " ") {
	case "":
		return nil
	case "pod":
		return []phrase{pod(true)}
	case "node":
		return []phrase{rule(pod(false), l.fromThisNode(true))}
	case "outside":
		return []phrase{rule(pod(false), l.fromThisNode(false))}
	case "pod node":
		return []phrase{pod(true), l.fromThisNode(true)}
	case "pod outside":
		return []phrase{pod(true), l.fromThisNode(false)}
	case "node outside":
		return []phrase{pod(false)}
	}
	return []phrase{{}}
}

// fromThisNode matches by the type of the source address. The pods of this node are not local.
func (l *layout) fromThisNode(yes bool) phrase {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	return say("fib saddr type"+not(yes)+" local",
		&expr.Fib{Register: unix.NFT_REG_1, ResultADDRTYPE: true, FlagSADDR: true},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: native(unix.RTN_LOCAL)})
}

func not(yes bool) string {
	if yes {
		return ""
	}
	return " !="
}

func (l *layout) setMark() phrase {
	return say(fmt.Sprintf("meta mark set meta mark | 0x%08x", l.mark),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1},
		bitwise(^l.mark, l.mark),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1})
}

// forward sends a packet to the backend in a slot drawn below limit, if there is one.
func (l *layout) forward(t target, limit uint32) phrase {
	tp := transportOf(t.protocol)
	m, key := l.backends[t.protocol], []field{l.destination(), tp.port(), draw(limit)}
	if t.nodePort {
		m, key = l.nodeBackends[t.protocol], key[1:]
	}
	slot := concat(key...)
	lookup := &expr.Lookup{
		SourceRegister: unix.NFT_REG_1, SetName: m.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_1,
	}
	port := register(l.addr.padded() / 4)
	nat := &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(l.number), Specified: true,
		RegAddrMin: unix.NFT_REG_1, RegAddrMax: unix.NFT_REG_1, RegProtoMin: port, RegProtoMax: port,
	}
	return rule(
		phrase{exprs: isProtocol(t.protocol)}, // nft leaves it out: the port's name says it
		say("dnat "+l.name+" to "+slot.text+" map @"+m.name, append(slot.exprs, lookup, nat)...),
	)
}

func isProtocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{number}},
	}
}

// refuse answers, or drops, what matches. TCP gets a reset: the kernel sends only
// some ICMP messages a second, and a client would wait for those that it did not.
func (l *layout) refuse(match phrase, action vip.Action) []phrase {
	if action == vip.Drop {
		return []phrase{rule(match, say("drop", &expr.Verdict{Kind: expr.VerdictDrop}))}
	}
	tcp := phrase{exprs: isProtocol(unix.IPPROTO_TCP)} // nft puts it first and leaves it out: the reset says it
	return []phrase{
		rule(tcp, match, say("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})),
		rule(match, say("reject", &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: l.unreachable})),
	}
}

// transportOf finds a protocol by its number.
func transportOf(number byte) transport {
	for _, t := range transports {
		if t.number == number {
			return t
		}
	}
	return transport{number: number, name: "protocol-" + utoa(uint32(number))}
}

// native gives an integer as it stands in a register: in the byte order of the machine.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func utoa(v uint32) string { return strconv.FormatUint(uint64(v), 10) }
