package nftables

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// groupChain is the chain of a group: it marks what is to be masqueraded and hands
// on, or refuses.
func (l *layout) groupChain(g group) chain {
	c := chain{name: g.chainName()}
	if g.forwards() {
		for _, match := range l.from(g.classes(masquerades)) {
			c.rules = append(c.rules, rule(match, l.setMark()))
		}
		c.rules = append(c.rules, goTo(nodeName(g.node, "forward")))
		return c
	}
	for _, action := range []vip.Action{vip.Reject, vip.Drop} {
		for _, match := range l.from(g.classes(acts(action))) {
			c.rules = append(c.rules, l.refuse(match, action)...)
		}
	}
	return c
}

func nodeName(node bool, name string) string {
	if node {
		return "node-" + name
	}
	return name
}

// rounds is how often a slot is drawn. A draw misses with less than one half, so
// all of them miss once in 256 connections or less often.
const rounds = 8

// forwardChains send a packet to a backend of its frontend, of which is known only
// that it is in some class. A draw asks each class for a slot below its size. In
// the right one that is a backend, evenly, or a miss, and then the next draw
// follows. At the end a slot below half the size is drawn, which is always taken.
func (l *layout) forwardChains(m made, node bool) []chain {
	forward := chain{name: nodeName(node, "forward")}
	var more []chain
	for _, t := range transports {
		classes := m.classesOf(node, t.number)
		if len(classes) == 0 {
			continue
		}
		all := chain{name: nodeName(node, "forward-"+t.name)}
		draw := chain{name: nodeName(node, "draw-"+t.name)}
		settle := chain{name: nodeName(node, "settle-"+t.name)}
		forward.rules = append(forward.rules,
			rule(say("meta l4proto "+t.name, isProtocol(t.number)...), goTo(all.name)))
		all.rules = append(all.rules, jump(draw.name))
		for _, c := range classes {
			draw.rules = append(draw.rules, l.drawFrom(c, c.size))
			if c.size > 2 {
				settle.rules = append(settle.rules, l.drawFrom(c, c.size/2))
			}
		}
		more = append(more, all, draw)
		if len(settle.rules) > 0 {
			for range rounds - 1 {
				all.rules = append(all.rules, jump(draw.name))
			}
			all.rules = append(all.rules, goTo(settle.name))
			more[len(more)-2] = all
			more = append(more, settle)
		}
	}
	if len(more) == 0 && !l.needsForward(m, node) {
		return nil
	}
	return append([]chain{forward}, more...)
}

// needsForward reports whether there is a group that hands on.
func (l *layout) needsForward(m made, node bool) bool {
	return len(m.inOrder(func(g group) bool { return g.forwards() && g.node == node })) > 0
}

// drawFrom sends a packet to the backend in a slot drawn below limit, if the class has one.
func (l *layout) drawFrom(c class, limit uint32) phrase {
	s := l.classSet(c)
	fields := append(s.key[:len(s.key)-1:len(s.key)-1], draw(limit))
	slot := concat(fields...)
	lookup := &expr.Lookup{
		SourceRegister: unix.NFT_REG_1, SetName: s.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_1,
	}
	port := register(l.addr.padded() / 4)
	nat := &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(l.number), Specified: true,
		RegAddrMin: unix.NFT_REG_1, RegAddrMax: unix.NFT_REG_1, RegProtoMin: port, RegProtoMax: port,
	}
	return rule(
		phrase{exprs: isProtocol(c.protocol)}, // nft leaves it out: the port's name says it
		say("dnat "+l.family.name+" to "+slot.text+" map @"+s.name, append(slot.exprs, lookup, nat)...),
	)
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
