package nftables

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// key is the key of an element. Which parts count depends on the set.
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

// appendKey appends a key as the kernel has it: each part padded to four bytes.
func (s *set) appendKey(b []byte, k key) []byte {
	for _, f := range s.key {
		switch f.part {
		case addrPart:
			b = append(b, k.addr.AsSlice()...)
		case protocolPart:
			b = append(b, k.protocol, 0, 0, 0)
		case portPart:
			b = append(b, byte(k.port>>8), byte(k.port), 0, 0)
		case slotPart:
			b = binary.NativeEndian.AppendUint32(b, uint32(k.slot))
		case numberPart:
			b = binary.NativeEndian.AppendUint32(b, k.number)
		case sourcePart:
			b = append(b, k.source.AsSlice()...)
		}
	}
	return b
}

// parseKey reads what appendKey wrote, and is false for anything else.
func (s *set) parseKey(b []byte) (k key, ok bool) {
	for _, f := range s.key {
		if len(b) < f.padded() {
			return key{}, false
		}
		switch v := b[:f.padded()]; f.part {
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
		b = b[f.padded():]
	}
	return k, len(b) == 0
}

// appendElement appends an element to the list of a message that adds or deletes elements.
func (s *set) appendElement(b *buffer, k key, v *value) {
	element := b.nest(unix.NFTA_LIST_ELEM)
	at := b.nest(unix.NFTA_SET_ELEM_KEY)
	data := b.nest(unix.NFTA_DATA_VALUE &^ nested)
	binary.NativeEndian.PutUint16((*b)[data+2:], unix.NFTA_DATA_VALUE)
	*b = s.appendKey(*b, k)
	b.end(data)
	b.end(at)
	if k.end {
		b.uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	if v != nil {
		s.appendValue(b, v)
	}
	b.end(element)
}

func (s *set) appendValue(b *buffer, v *value) {
	if s.value != nil {
		at := b.nest(unix.NFTA_SET_ELEM_DATA)
		data := b.nest(unix.NFTA_DATA_VALUE &^ nested)
		binary.NativeEndian.PutUint16((*b)[data+2:], unix.NFTA_DATA_VALUE)
		if s.toNumber() {
			*b = binary.NativeEndian.AppendUint32(*b, v.number)
		} else {
			*b = append(*b, v.to.Addr().AsSlice()...)
			*b = append(*b, byte(v.to.Port()>>8), byte(v.to.Port()), 0, 0)
		}
		b.end(data)
		b.end(at)
	}
	if v.comment != "" {
		b.attr(unix.NFTA_SET_ELEM_USERDATA, comment(v.comment)...)
	}
}

// parseElement reads an element as the kernel lists it. It is false for one that
// this package did not write.
func (s *set) parseElement(b []byte) (k key, v value, ok bool) {
	var data []byte
	for kind, content := range attrs(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			k, ok = s.parseKey(attrOf(content, unix.NFTA_DATA_VALUE))
		case unix.NFTA_SET_ELEM_DATA:
			data = content
		case unix.NFTA_SET_ELEM_FLAGS:
			k.end = number(content)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_USERDATA:
			v.comment = commentOf(content)
		}
	}
	if s.value != nil {
		ok = s.parseValue(attrOf(data, unix.NFTA_DATA_VALUE), &v) && ok
	}
	return k, v, ok
}

// parseValue reads the data of a map's element.
func (s *set) parseValue(raw []byte, v *value) bool {
	size := s.value[0].padded()
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
func (s *set) toNumber() bool { return len(s.value) == 1 }

// text is the key in nft's words.
func (s *set) text(k key) string {
	words := make([]string, len(s.key))
	for i, f := range s.key {
		switch f.part {
		case addrPart:
			words[i] = k.addr.String()
		case protocolPart:
			words[i] = transportOf(k.protocol).name
		case portPart:
			words[i] = utoa(uint32(k.port))
		case slotPart:
			words[i] = utoa(uint32(k.slot))
		case numberPart:
			words[i] = numberText(k.number)
		case sourcePart:
			words[i] = k.source.String()
		}
	}
	return strings.Join(words, " . ")
}

// elementText is the element in nft's words.
func (s *set) elementText(k key, v value) string {
	words := s.text(k)
	if v.comment != "" {
		words += ` comment "` + commentText(v.comment) + `"`
	}
	switch {
	case s.value == nil:
	case s.toNumber():
		words += " : " + numberText(v.number)
	default:
		words += " : " + v.to.Addr().String() + " . " + strconv.Itoa(int(v.to.Port()))
	}
	return words
}
