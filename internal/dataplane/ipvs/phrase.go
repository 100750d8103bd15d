package ipvs

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// A phrase is a part of a rule, or a rule: as nft would print it, and as the kernel takes it.
type phrase struct {
	text  string
	exprs []expr.Any
}

func say(text string, exprs ...expr.Any) phrase { return phrase{text, exprs} }

func join(parts ...phrase) phrase {
	var all phrase
	var words []string
	for _, p := range parts {
		if p.text != "" {
			words = append(words, p.text)
		}
		all.exprs = append(all.exprs, p.exprs...)
	}
	all.text = strings.Join(words, " ")
	return all
}

// key loads a key into the registers.
func (l *layout) key(fields ...field) phrase {
	var p phrase
	var words []string
	register := uint32(firstRegister)
	for _, f := range fields {
		word, load, size := l.load(f, register)
		words, p.exprs = append(words, word), append(p.exprs, load)
		register += size / wordBytes
	}
	p.text = strings.Join(words, " . ")
	return p
}

// load loads a part of a packet into a register. It returns how many bytes that takes there.
func (l *layout) load(f field, register uint32) (string, expr.Any, uint32) {
	switch f {
	case protocol:
		return "meta l4proto", &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, wordBytes
	case port:
		return "th dport", &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, wordBytes
	}
	word, offset, size := l.addr(f)
	return word, &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}, size
}

// addr is where in the header an address is.
func (l *layout) addr(f field) (word string, offset, size uint32) {
	word = l.family() + map[field]string{source: " saddr", destination: " daddr"}[f]
	offset, size = 12, 4
	if !l.v4 {
		offset, size = 8, 16
	}
	if f == destination {
		offset += size
	}
	return word, offset, size
}

// in matches if the preceding key is in a set, or is not in it.
func (l *layout) in(set string, yes bool) phrase {
	return say(map[bool]string{true: "", false: "!= "}[yes]+"@"+set,
		&expr.Lookup{SourceRegister: firstRegister, SetName: set, Invert: !yes})
}

// markFrom sets the mark to what a map has for a key.
func (l *layout) markFrom(name string, fields ...field) phrase {
	key := l.key(fields...)
	return say("meta mark set "+key.text+" map @"+name, append(key.exprs,
		&expr.Lookup{SourceRegister: firstRegister, DestRegister: firstRegister, IsDestRegSet: true, SetName: name},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: firstRegister})...)
}

// network matches an address in a network.
func (l *layout) network(f field, p netip.Prefix) phrase {
	word, offset, size := l.addr(f)
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return say(word+" "+p.String(),
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: p.Addr().AsSlice()})
}

// fromInterface matches the interface that a packet came in by, or the beginning of its name.
func fromInterface(name string, prefix bool) phrase {
	text, data := name+"*", []byte(name)
	if !prefix {
		text, data = name, make([]byte, unix.IFNAMSIZ)
		copy(data, name)
	}
	return say(fmt.Sprintf("iifname %q", text),
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: data})
}

// fromThisNode matches packets from an address of this node.
func fromThisNode() phrase {
	return say("fib saddr type local",
		&expr.Fib{Register: unix.NFT_REG_1, ResultADDRTYPE: true, FlagSADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(unix.RTN_LOCAL)})
}

// toThisNode matches packets to an address of this node, or to any other.
func toThisNode(yes bool) phrase {
	op, word := expr.CmpOpEq, ""
	if !yes {
		op, word = expr.CmpOpNeq, "!= "
	}
	return say("fib daddr type "+word+"local",
		&expr.Fib{Register: unix.NFT_REG_1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: native(unix.RTN_LOCAL)})
}

// fromProcess matches packets that have a socket: without one there is no user.
func fromProcess() phrase {
	const none = ^uint32(0) // no user has this number
	return say(fmt.Sprintf("meta skuid != %d", none),
		&expr.Meta{Key: expr.MetaKeySKUID, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: native(none)})
}

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// untranslated matches packets whose destination no rule translated. What IPVS does is not seen here.
func untranslated() phrase {
	return say("ct status & dnat == 0",
		&expr.Ct{Key: expr.CtKeySTATUS, Register: unix.NFT_REG_1},
		bitwise(statusDNAT, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(0)})
}

// originalDestination loads the address that the client of a connection chose.
func (l *layout) originalDestination() phrase {
	return say("ct original "+l.family()+" daddr",
		&expr.Ct{Key: expr.CtKeyDST, Register: firstRegister, Direction: 0})
}

// ctNew matches the first packet of a connection.
func ctNew() phrase {
	return say("ct state new",
		&expr.Ct{Key: expr.CtKeySTATE, Register: unix.NFT_REG_1},
		bitwise(expr.CtStateBitNEW, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: native(0)})
}

// refuse answers what matches. TCP gets a reset: the kernel sends only some ICMP messages a second.
func (l *layout) refuse(match phrase) []phrase {
	tcp := say("meta l4proto tcp",
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{byte(cluster.TCP)}})
	code := uint8(3) // ICMP port unreachable
	if !l.v4 {
		code = 4
	}
	return []phrase{
		join(tcp, match, say("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})),
		join(match, say("reject", &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code})),
	}
}

func verdict(kind expr.VerdictKind, chain string) phrase {
	word := map[expr.VerdictKind]string{expr.VerdictJump: "jump ", expr.VerdictGoto: "goto "}[kind]
	return say(word+chain, &expr.Verdict{Kind: kind, Chain: chain})
}

func drop() phrase { return say("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }

func masquerade() phrase {
	return say("masquerade fully-random", &expr.Masq{FullyRandom: true})
}

// markIs matches packets whose mark has a value in some bits.
func markIs(mask, value uint32) phrase {
	return say(fmt.Sprintf("meta mark & 0x%08x == 0x%08x", mask, value),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, bitwise(mask, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(value)})
}

// setBits sets bits of the mark.
func setBits(bits uint32) phrase {
	return say(fmt.Sprintf("meta mark set meta mark | 0x%08x", bits),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, bitwise(^bits, bits),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1})
}

// keepBits clears all other bits of the mark.
func keepBits(bits uint32) phrase {
	return say(fmt.Sprintf("meta mark set meta mark & 0x%08x", bits),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, bitwise(bits, 0),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1})
}

// bitwise sets the first register to (itself & mask) ^ xor.
func bitwise(mask, xor uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: wordBytes, Mask: native(mask), Xor: native(xor)}
}

// translate sends a packet to the address that a phrase loads, and to the port that it has.
func (l *layout) translate(to phrase) phrase {
	family := uint32(unix.NFPROTO_IPV6)
	if l.v4 {
		family = unix.NFPROTO_IPV4
	}
	return say("dnat to "+to.text, append(to.exprs, &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: firstRegister, RegAddrMax: firstRegister,
	})...)
}

// native gives an integer as it stands in a register: in the byte order of the machine.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
