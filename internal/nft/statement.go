package nft

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Statement is a part of a rule, or a whole rule: the text that nft shows and the expressions that the kernel runs.
type Statement struct {
	Text  string
	Exprs []expr.Any
}

// Say returns a statement of a text and expressions that mean the same.
func Say(text string, exprs ...expr.Any) Statement { return Statement{text, exprs} }

// Rule joins statements.
func Rule(statements ...Statement) Statement {
	var words []string
	var all []expr.Any
	for _, s := range statements {
		if s.Text != "" {
			words = append(words, s.Text)
		}
		all = append(all, s.Exprs...)
	}
	return Statement{strings.Join(words, " "), all}
}

// Silent returns the statement without text: nft leaves it out of a listing because it follows from the rest.
func (s Statement) Silent() Statement { return Statement{"", s.Exprs} }

// Compare compares the first register.
func Compare(equal bool, data []byte) expr.Any {
	op := expr.CmpOpEq
	if !equal {
		op = expr.CmpOpNeq
	}
	return &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: data}
}

func not(yes bool) string {
	if yes {
		return ""
	}
	return " !="
}

// bitwise sets a register to (itself & mask) ^ xor.
func bitwise(register uint32, mask, xor []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: xor}
}

// Bits sets the first register to (itself & mask) ^ xor.
func Bits(mask, xor uint32) expr.Any { return bitwise(unix.NFT_REG_1, Native(mask), Native(xor)) }

// In matches if the preceding concatenation is in a set, or is not in it.
func In(set string, yes bool) Statement {
	return Say(strings.TrimPrefix(not(yes)+" @"+set, " "), &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: set, Invert: !yes})
}

// Map loads what a map has for a key, and does not match if it has nothing.
func Map(set string, fields ...Field) Statement {
	key := Concat(fields...)
	return Say(key.Text+" map @"+set, append(key.Exprs,
		&expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: set, IsDestRegSet: true, DestRegister: unix.NFT_REG_1})...)
}

// SetMark sets the mark to what a statement loads.
func SetMark(to Statement) Statement { return setMeta("mark", expr.MetaKeyMARK, to) }

// SetPriority sets the priority to what a statement loads.
func SetPriority(to Statement) Statement { return setMeta("priority", expr.MetaKeyPRIORITY, to) }

func setMeta(name string, key expr.MetaKey, to Statement) Statement {
	return Say("meta "+name+" set "+to.Text, append(to.Exprs, &expr.Meta{Key: key, SourceRegister: true, Register: unix.NFT_REG_1})...)
}

// MarkIs matches packets whose mark has a value in some bits.
func MarkIs(mask, value uint32) Statement {
	return Say(fmt.Sprintf("meta mark & %s == %s", markText(mask), markText(value)),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, Bits(mask, 0), Compare(true, Native(value)))
}

// SetMarkBits sets bits of the mark.
func SetMarkBits(mask uint32) Statement {
	return SetMark(Say("meta mark | "+markText(mask), &expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, Bits(^mask, mask)))
}

// KeepMarkBits clears all other bits of the mark.
func KeepMarkBits(mask uint32) Statement {
	return SetMark(Say("meta mark & "+markText(mask), &expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1}, Bits(mask, 0)))
}

// InterfaceName returns a name as the kernel compares it.
func InterfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// FromInterface matches packets that came in by an interface, or by one whose name begins so.
func FromInterface(name string, prefix, yes bool) Statement {
	data := InterfaceName(name)
	if prefix {
		data = []byte(name)
		name += "*"
	}
	return Say("iifname"+not(yes)+` "`+name+`"`, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1}, Compare(yes, data))
}

// FromProcess matches packets that have a socket: without one there is no user.
func FromProcess() Statement {
	const none = ^uint32(0) // no user has this number
	return Say("meta skuid != "+utoa(none), &expr.Meta{Key: expr.MetaKeySKUID, Register: unix.NFT_REG_1}, Compare(false, Native(none)))
}

// FromThisNode matches packets from an address of this node, or from any other.
func FromThisNode(yes bool) Statement { return fibType("saddr", yes) }

// ToThisNode matches packets to an address of this node, or to any other.
func ToThisNode(yes bool) Statement { return fibType("daddr", yes) }

func fibType(which string, local bool) Statement {
	return Say("fib "+which+" type"+not(local)+" local",
		&expr.Fib{Register: unix.NFT_REG_1, ResultADDRTYPE: true, FlagSADDR: which == "saddr", FlagDADDR: which == "daddr"},
		Compare(local, Native(unix.RTN_LOCAL)))
}

// InNetwork matches packets with an address in a network.
func (f *Family) InNetwork(address Field, n netip.Prefix) Statement {
	masked := address.And(f.Mask(n.Bits()), "")
	return Say(address.Text+" "+n.String(), append(masked.Load(unix.NFT_REG_1), Compare(true, n.Addr().AsSlice()))...)
}

// Is matches packets of a protocol, or of any other.
func (t Transport) Is(yes bool) Statement {
	return Say("meta l4proto"+not(yes)+" "+t.Name,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1}, Compare(yes, []byte{t.Number}))
}

// Bits of conntrack's status (linux/netfilter/nf_conntrack_common.h).
const (
	StatusConfirmed uint32 = 1 << 3 // IPS_CONFIRMED
	StatusDNAT      uint32 = 1 << 5 // IPS_DST_NAT
)

// ctBit matches if a bit is set in something that conntrack knows of the packet, or is not set.
func ctBit(key expr.CtKey, bit uint32, set bool) []expr.Any {
	return []expr.Any{&expr.Ct{Key: key, Register: unix.NFT_REG_1}, Bits(bit, 0), Compare(!set, Native(0))}
}

// Statements without parameters.
var (
	// IsNew matches the first packet of a connection.
	IsNew = Say("ct state new", ctBit(expr.CtKeySTATE, expr.CtStateBitNEW, true)...)
	// IsEstablished matches packets of a connection that has been answered.
	IsEstablished = Say("ct state established", ctBit(expr.CtKeySTATE, expr.CtStateBitESTABLISHED, true)...)
	// IsUnconfirmed matches packets of a connection whose first packet has not yet passed.
	IsUnconfirmed = Say("ct status & confirmed == 0", ctBit(expr.CtKeySTATUS, StatusConfirmed, false)...)
	// IsTranslated matches packets whose destination a rule translated.
	IsTranslated = Say("ct status dnat", ctBit(expr.CtKeySTATUS, StatusDNAT, true)...)
	// IsUntranslated matches packets whose destination no rule translated.
	IsUntranslated = Say("ct status & dnat == 0", ctBit(expr.CtKeySTATUS, StatusDNAT, false)...)
	// IsOriginal matches packets of the client, and IsReply those of the server.
	IsOriginal = direction("original", 0)
	IsReply    = direction("reply", 1)

	Accept     = Say("accept", &expr.Verdict{Kind: expr.VerdictAccept})
	Drop       = Say("drop", &expr.Verdict{Kind: expr.VerdictDrop})
	Return     = Say("return", &expr.Verdict{Kind: expr.VerdictReturn})
	Masquerade = Say("masquerade fully-random", &expr.Masq{FullyRandom: true})
)

func direction(name string, number byte) Statement {
	return Say("ct direction "+name, &expr.Ct{Key: expr.CtKeyDIRECTION, Register: unix.NFT_REG_1}, Compare(true, []byte{number}))
}

// Jump runs the rules of a chain.
func Jump(chain string) Statement {
	return Say("jump "+chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

// Goto continues with a chain and does not return.
func Goto(chain string) Statement {
	return Say("goto "+chain, &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

// Refuse returns the rules that answer packets: to what tcp matches with a reset, since the kernel sends only some ICMP
// messages a second, and a client would wait for those that it does not send.
func (f *Family) Refuse(tcp, match Statement) []Statement {
	return []Statement{
		Rule(tcp, match, Say("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})),
		Rule(match, Say("reject", &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: f.unreachable})),
	}
}
