package nftables

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Parts of rules that several chains have.

// from matches packets of the given source classes: one phrase each, of which at
// least one matches. A packet may match two of them.
func (l *layout) from(classes []string) []phrase {
	pod := l.fromPod
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

// fromPod matches by the way in which pods are told.
func (l *layout) fromPod(yes bool) phrase {
	name, op := l.host.Pods.Interface, cmpOp(yes)
	data := interfaceName(name)
	if name == "" && l.host.Pods.Prefix != "" {
		data = []byte(l.host.Pods.Prefix)
		name = l.host.Pods.Prefix + "*"
	}
	if name == "" {
		return rule(say(l.source().text+not(yes), concat(l.source()).exprs...), l.podCIDRs.contains(yes))
	}
	return say("iifname"+not(yes)+" \""+name+"\"",
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: data})
}

// interfaceName is a name as the kernel compares it.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// fromThisNode matches by the type of the source address. The pods of this node are not local.
func (l *layout) fromThisNode(yes bool) phrase { return fibType("saddr", yes) }

// fibType matches packets whose saddr or daddr is an address of this node, or is none.
func fibType(which string, local bool) phrase {
	return say("fib "+which+" type"+not(local)+" local",
		&expr.Fib{Register: unix.NFT_REG_1, ResultADDRTYPE: true, FlagSADDR: which == "saddr", FlagDADDR: which == "daddr"},
		&expr.Cmp{Op: cmpOp(local), Register: unix.NFT_REG_1, Data: native(unix.RTN_LOCAL)})
}

// toNode matches packets to an address that serves NodePorts.
func (l *layout) toNode() phrase {
	all := l.host.NodePortAll6
	if l.family == ip4 {
		all = l.host.NodePortAll4
	}
	if !all {
		return rule(concat(l.destination()), l.nodeAddrs.contains(true))
	}
	return rule(fibType("daddr", true), l.notLoopback())
}

// notLoopback matches what is not sent to a loopback address: nft compares whole bytes of networks.
func (l *layout) notLoopback() phrase {
	network, address := "127.0.0.0/8", []byte{127}
	if l.family == ip6 {
		loopback := netip.IPv6Loopback()
		network, address = loopback.String(), loopback.AsSlice()
	}
	return say(l.destination().text+" != "+network,
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: l.daddr, Len: uint32(len(address))},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: address})
}

func cmpOp(equal bool) expr.CmpOp {
	if equal {
		return expr.CmpOpEq
	}
	return expr.CmpOpNeq
}

func not(yes bool) string {
	if yes {
		return ""
	}
	return " !="
}

func (l *layout) setMark() phrase {
	mark := l.host.MasqueradeMark
	return say(fmt.Sprintf("meta mark set meta mark | 0x%08x", mark),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1},
		bitwise(^mark, mark),
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
		return []phrase{rule(match, drops)}
	}
	tcp := phrase{exprs: isProtocol(unix.IPPROTO_TCP)} // nft puts it first and leaves it out: the reset says it
	return []phrase{
		rule(tcp, match, say("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})),
		rule(match, say("reject", &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: l.unreachable})),
	}
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

var drops = say("drop", &expr.Verdict{Kind: expr.VerdictDrop})

// isNew matches the first packet of a connection.
var isNew = say("ct state new", ctBit(expr.CtKeySTATE, expr.CtStateBitNEW)...)

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
	load, mark := &expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, l.host.MasqueradeMark
	return rule(
		say(fmt.Sprintf("meta mark & 0x%08x == 0x%08x", mark, mark),
			load, bitwise(mark, 0), &expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(mark)}),
		say(fmt.Sprintf("meta mark set meta mark & 0x%08x", ^mark),
			load, bitwise(^mark, 0), &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1}),
		masquerade,
	)
}

// masqueradeHairpin masquerades what a pod sends to a frontend that leads back to
// it: it would not take an answer from its own address.
func (l *layout) masqueradeHairpin() phrase {
	return rule(
		isTranslated,
		concat(l.source(), l.destination()), l.hairpin.contains(true),
		masquerade,
	)
}

// isTranslated matches packets whose destination was translated, by whomever.
var isTranslated = say("ct status dnat", ctBit(expr.CtKeySTATUS, ctStatusDNAT)...)

// ctStatusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ctStatusDNAT = 1 << 5

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
