package nft

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Field is a part of a key or value: how a rule loads it from a packet, and how nft shows that.
type Field struct {
	Type
	Text string
	Load func(register uint32) []expr.Any
	Note []byte // how nft notes the expression in a set that is declared with typeof; nil if in none
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

// noteExpression returns nft's note on one expression: its kind, then its particulars.
func noteExpression(kind uint32, particulars []byte) []byte {
	return note(noteUint32(nil, 0, kind), 1, particulars)
}

func notePayloadField(header, field uint32) []byte {
	return noteExpression(notePayload, noteUint32(noteUint32(nil, 0, header), 1, field))
}

func payloadField(t Type, text string, base expr.PayloadBase, offset uint32, note []byte) Field {
	return Field{t, text, func(register uint32) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: uint32(t.Size)}}
	}, note}
}

func metaField(t Type, text string, key expr.MetaKey, note []byte) Field {
	return Field{t, text, func(register uint32) []expr.Any {
		return []expr.Any{&expr.Meta{Key: key, Register: register}}
	}, note}
}

// Source is the address that a packet comes from.
func (f *Family) Source() Field {
	return payloadField(f.Addr, f.Name+" saddr", expr.PayloadBaseNetworkHeader, f.SourceOffset, nil)
}

// Destination is the address that a packet is sent to.
func (f *Family) Destination() Field {
	return payloadField(f.Addr, f.Name+" daddr", expr.PayloadBaseNetworkHeader, f.DestinationOffset, notePayloadField(f.header, f.destinationField))
}

// Protocol is the transport protocol, after all extension headers.
func Protocol() Field { return metaField(TypeProtocol, "meta l4proto", expr.MetaKeyL4PROTO, nil) }

// SourcePort is the source port of any protocol.
func SourcePort() Field {
	return payloadField(TypePort, "th sport", expr.PayloadBaseTransportHeader, 0, nil)
}

// Port is the destination port of any protocol.
func Port() Field { return payloadField(TypePort, "th dport", expr.PayloadBaseTransportHeader, 2, nil) }

// Port is the destination port of one protocol.
func (t Transport) Port() Field {
	const number = 2 // in nft's notes: the same in all three headers
	return payloadField(TypePort, t.Name+" dport", expr.PayloadBaseTransportHeader, 2, notePayloadField(t.header, number))
}

// Mark is the mark of a packet.
func Mark() Field { return metaField(TypeMark, "meta mark", expr.MetaKeyMARK, nil) }

// Priority is the priority of a packet (skb->priority).
func Priority() Field {
	return metaField(TypeClassid, "meta priority", expr.MetaKeyPRIORITY, noteExpression(noteMeta, noteUint32(nil, 0, unix.NFT_META_PRIORITY)))
}

// Random is a number drawn below limit.
func Random(limit uint32) Field {
	particulars := noteUint32(noteUint32(noteUint32(nil, 0, unix.NFT_NG_RANDOM), 1, limit), 2, 0)
	return Field{TypeInteger, "numgen random mod " + utoa(limit), func(register uint32) []expr.Any {
		return []expr.Any{&expr.Numgen{Register: register, Modulus: limit, Type: unix.NFT_NG_RANDOM}}
	}, noteExpression(noteNumgen, particulars)}
}

// And is the bits of a field that are in a mask, which nft shows as text.
func (f Field) And(mask []byte, text string) Field {
	load := f.Load
	f.Text += " & " + text
	f.Load = func(register uint32) []expr.Any {
		return append(load(register), bitwise(register, mask, make([]byte, len(mask))))
	}
	return f
}

// Mask returns so many bits of an address of a family.
func (f *Family) Mask(bits int) []byte {
	mask := make([]byte, f.Addr.Size)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// Concat loads fields into registers, one after the other from the first on.
func Concat(fields ...Field) Statement {
	words := make([]string, len(fields))
	var exprs []expr.Any
	word := 0
	for i, f := range fields {
		words[i] = f.Text
		exprs = append(exprs, f.Load(Register(word))...)
		word += f.Padded() / 4
	}
	return Statement{strings.Join(words, " . "), exprs}
}

// Register returns the number of the register that begins at a 32-bit word. The kernel knows some by two numbers and
// lists them by this one.
func Register(word int) uint32 {
	if word%4 == 0 {
		return uint32(unix.NFT_REG_1 + word/4)
	}
	return uint32(unix.NFT_REG32_00 + word)
}

// Native returns an integer in the byte order of the machine, as in a register.
func Native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func integer(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// ClassidText returns a priority as nft shows it: as a traffic class.
func ClassidText(n uint32) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

func markText(n uint32) string { return fmt.Sprintf("0x%08x", n) }

// typeOf returns the number that nft gives a concatenation: six bits for each type. The kernel keeps it and never looks
// at it. The size is in bytes.
func typeOf(fields []Field) (kind, size uint32) {
	if len(fields) == 1 {
		return fields[0].number, uint32(fields[0].Size)
	}
	for _, f := range fields {
		kind = kind<<6 | f.number
		size += uint32(f.Padded())
	}
	return kind, size
}

// textOf returns a key or value as nft shows it, or its bytes if they are not of these types.
func textOf(fields []Field, b []byte) string {
	var words []string
	rest := b
	for _, f := range fields {
		if len(rest) < f.Padded() {
			return fmt.Sprintf("0x%x", b)
		}
		words = append(words, f.text(rest))
		rest = rest[f.Padded():]
	}
	return strings.Join(words, " . ")
}
