package nftables

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"github.com/signpost-dns/signpost/internal/nft"
)

// part is a part of a key.
type part uint8

const (
	addrPart part = iota
	protocolPart
	portPart
	slotPart
	numberPart // of an Owner, or of one of its backends: see affinity.go
	sourcePart // the source address, or the network that it is in
)

// partOf returns the part of a key that a type is, but for sourcePart.
func partOf(t nft.Type) part {
	switch t {
	case nft.TypeProtocol:
		return protocolPart
	case nft.TypePort:
		return portPart
	case nft.TypeInteger:
		return slotPart
	case nft.TypeClassid:
		return numberPart
	}
	return addrPart
}

// key is the key of an element. The set decides which parts it has.
type key struct {
	addr     netip.Addr
	port     uint16
	slot     uint16
	protocol byte
	end      bool       // the first address after an interval, and not one in it
	number   uint32     // of an Owner, or of one of its backends
	source   netip.Addr // the first address of a network
}

// compare orders keys by address, protocol, port, number, slot and source. An interval ends before another begins.
func (k key) compare(o key) int {
	ends := func(k key) int {
		if k.end {
			return 0
		}
		return 1
	}
	return cmp.Or(k.addr.Compare(o.addr), cmp.Compare(k.protocol, o.protocol), cmp.Compare(k.port, o.port),
		cmp.Compare(k.number, o.number), cmp.Compare(k.slot, o.slot), k.source.Compare(o.source), cmp.Compare(ends(k), ends(o)))
}

// value is what a map has for a key, and the element's comment.
type value struct {
	to      netip.AddrPort // in a map to backends
	number  uint32         // in a map to numbers
	comment string
}

// verb is what happens to an element.
type verb uint8

const (
	put  verb = iota // add
	swap             // delete and add, with another value
	drop             // delete
)

// op is one operation on one element.
type op struct {
	verb
	set *set
	key key
	val value // of put and swap
}

// element returns an element as bytes, in place of those that b has.
func (s *set) element(b *nft.Element, k key, v value) {
	b.Key, b.End, b.Comment = s.appendKey(b.Key[:0], k), k.end, v.comment
	switch {
	case s.Value == nil:
		b.Value = nil
	case s.toNumber():
		b.Value = binary.NativeEndian.AppendUint32(b.Value[:0], v.number)
	default:
		b.Value = appendPort(appendAddr(b.Value[:0], v.to.Addr()), v.to.Port())
	}
}

// appendKey appends a key as the kernel has it: each part padded to four bytes.
func (s *set) appendKey(b []byte, k key) []byte {
	for _, p := range s.parts {
		switch p {
		case addrPart:
			b = appendAddr(b, k.addr)
		case protocolPart:
			b = append(b, k.protocol, 0, 0, 0)
		case portPart:
			b = appendPort(b, k.port)
		case slotPart:
			b = binary.NativeEndian.AppendUint32(b, uint32(k.slot))
		case numberPart:
			b = binary.NativeEndian.AppendUint32(b, k.number)
		case sourcePart:
			b = appendAddr(b, k.source)
		}
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte { return append(b, a.AsSlice()...) }

func appendPort(b []byte, port uint16) []byte { return append(b, byte(port>>8), byte(port), 0, 0) }

// parse reads an element as the kernel lists it. It is false for one that this package did not write.
func (s *set) parse(e nft.Element) (k key, v value, ok bool) {
	k, ok = s.parseKey(e.Key)
	k.end, v.comment = e.End, e.Comment
	if s.Value != nil {
		ok = s.parseValue(e.Value, &v) && ok
	}
	return k, v, ok
}

// parseKey reads what appendKey wrote, and is false for anything else.
func (s *set) parseKey(b []byte) (k key, ok bool) {
	for i, p := range s.parts {
		size := s.Key[i].Padded()
		if len(b) < size {
			return key{}, false
		}
		switch v := b[:size]; p {
		case addrPart:
			k.addr, _ = netip.AddrFromSlice(v)
		case protocolPart:
			k.protocol = v[0]
		case portPart:
			k.port = binary.BigEndian.Uint16(v)
		case slotPart:
			slot := binary.NativeEndian.Uint32(v)
			if slot >= maxSlots {
				return key{}, false
			}
			k.slot = uint16(slot)
		case numberPart:
			k.number = binary.NativeEndian.Uint32(v)
		case sourcePart:
			k.source, _ = netip.AddrFromSlice(v)
		}
		b = b[size:]
	}
	return k, len(b) == 0
}

// parseValue reads the data of a map's element.
func (s *set) parseValue(raw []byte, v *value) bool {
	size := s.Value[0].Padded()
	if s.toNumber() {
		if len(raw) != size {
			return false
		}
		v.number = binary.NativeEndian.Uint32(raw)
		return true
	}
	if len(raw) != size+4 {
		return false
	}
	addr, _ := netip.AddrFromSlice(raw[:size])
	v.to = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(raw[size:]))
	return true
}

// toNumber reports whether the set is a map to numbers.
func (s *set) toNumber() bool { return len(s.Value) == 1 }

// elementText returns the element as nft shows it.
func (s *set) elementText(k key, v value) string {
	var e nft.Element
	s.element(&e, k, v)
	return s.Text(e)
}
