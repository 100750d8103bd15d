package nftables

import (
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// phrase is a part of a rule, or a whole one, in both languages: what nft shows,
// and what the kernel runs. Each is written down once, side by side, so that the
// text of `forwarder plan` is the rules that are installed.
type phrase struct {
	text  string
	exprs []expr.Any
}

func say(text string, exprs ...expr.Any) phrase { return phrase{text, exprs} }

// rule joins phrases. A phrase without text is what nft leaves out of a listing
// because it follows from the rest.
func rule(phrases ...phrase) phrase {
	var words []string
	var all []expr.Any
	for _, p := range phrases {
		if p.text != "" {
			words = append(words, p.text)
		}
		all = append(all, p.exprs...)
	}
	return phrase{strings.Join(words, " "), all}
}

// part says which part of a key or value a field is.
type part uint8

const (
	addrPart part = iota
	protocolPart
	portPart
	slotPart
	sourcePart // the source address, or the network that it is in
	numberPart // of an Owner, or of one of its backends: see affinity.go
)

// field is a part of a key or value: where a packet has it, and how nft names it.
type field struct {
	part part
	dataType
	text string
	load func(register uint32) []expr.Any
	note []byte // how nft notes the expression in a set declared with typeof
}

// Kinds in nft's notes on a set (NFTNL_UDATA_SET_*) and on expressions (enum expr_types).
const (
	noteKeyByteOrder  = 0
	noteDataByteOrder = 1
	noteKeyTypeof     = 3
	noteDataTypeof    = 4
	noteDataInterval  = 6

	notePayload = 7
	noteMeta    = 9
	noteConcat  = 13
	noteNumgen  = 23
)

// noteExpression is nft's note on one expression: its kind, then its particulars.
func noteExpression(kind uint32, particulars []byte) []byte {
	return note(noteUint32(nil, 0, kind), 1, particulars)
}

func notePayloadField(header, field uint32) []byte {
	return noteExpression(notePayload, noteUint32(noteUint32(nil, 0, header), 1, field))
}

func (f *family) ipField(name string, offset uint32, note []byte) field {
	return field{addrPart, f.addr, f.name + " " + name, func(register uint32) []expr.Any {
		return []expr.Any{&expr.Payload{
			DestRegister: register, Base: expr.PayloadBaseNetworkHeader,
			Offset: offset, Len: uint32(f.addr.size),
		}}
	}, note}
}

// destination is the address that a packet is sent to.
func (f *family) destination() field {
	return f.ipField("daddr", f.daddr, notePayloadField(f.header, f.daddrField))
}

// source is the address that a packet comes from.
func (f *family) source() field { return f.ipField("saddr", f.saddr, nil) }

// sourceNetwork is the network of so many bits that a packet comes from.
func (f *family) sourceNetwork(bits int) field {
	s := f.source()
	s.part = sourcePart
	if bits == f.addr.size*8 {
		return s
	}
	mask := make([]byte, f.addr.size)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	text, _ := netip.AddrFromSlice(mask)
	load := s.load
	s.text += " & " + text.String()
	s.load = func(register uint32) []expr.Any {
		return append(load(register), &expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
		})
	}
	return s
}

// protocol is the transport protocol, after all extension headers.
func protocol() field {
	return field{protocolPart, protocolType, "meta l4proto", func(register uint32) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}}
	}, nil}
}

func portOf(header string, note []byte) field {
	return field{portPart, portType, header + " dport", func(register uint32) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
	}, note}
}

// anyPort is the destination port whatever the protocol.
func anyPort() field { return portOf("th", nil) }

// port is the destination port of one protocol.
func (t transport) port() field { return portOf(t.name, notePayloadField(t.header, portField)) }

// draw is a slot drawn at random below limit. Its bytes are in the order of the machine.
func draw(limit uint32) field {
	particulars := noteUint32(noteUint32(noteUint32(nil, 0, unix.NFT_NG_RANDOM), 1, limit), 2, 0)
	return field{slotPart, integerType, "numgen random mod " + utoa(limit), func(register uint32) []expr.Any {
		return []expr.Any{&expr.Numgen{Register: register, Modulus: limit, Type: unix.NFT_NG_RANDOM}}
	}, noteExpression(noteNumgen, particulars)}
}

// priority is where the rules keep a number for a while: see affinity.go.
func priority() field {
	return field{numberPart, classidType, "meta priority", func(register uint32) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register}}
	}, noteExpression(noteMeta, noteUint32(nil, 0, unix.NFT_META_PRIORITY))}
}

// ownerOnly is the Owner in a number.
func ownerOnly() field {
	n := priority()
	load := n.load
	n.text += " & " + numberText(ownerMask)
	n.load = func(register uint32) []expr.Any {
		return append(load(register), &expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4, Mask: native(ownerMask), Xor: native(0),
		})
	}
	return n
}

// concat is several fields one after the other, in registers from the first on.
func concat(fields ...field) phrase {
	words := make([]string, len(fields))
	var exprs []expr.Any
	word := 0
	for i, f := range fields {
		words[i] = f.text
		exprs = append(exprs, f.load(register(word))...)
		word += f.padded() / 4
	}
	return phrase{strings.Join(words, " . "), exprs}
}

// register gives the number of the register that begins at a 32-bit word. The
// kernel knows some by two numbers and lists them by this one.
func register(word int) uint32 {
	if word%4 == 0 {
		return uint32(unix.NFT_REG_1 + word/4)
	}
	return uint32(unix.NFT_REG32_00 + word)
}
