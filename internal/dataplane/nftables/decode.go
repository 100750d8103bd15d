package nftables

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// attrs yields the attributes in a payload: kind without flags, and content. It
// stops at what is no attribute: the kernel sends none, and this is no parser of
// anybody else's bytes.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrHeader {
			size := int(binary.NativeEndian.Uint16(b))
			if size < attrHeader || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[attrHeader:size]) {
				return
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// attrOf returns the content of the first attribute of a kind, or nil.
func attrOf(b []byte, kind uint16) []byte {
	for k, v := range attrs(b) {
		if k == kind {
			return v
		}
	}
	return nil
}

// text is the content of a string attribute.
func text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

// number is the content of an integer attribute, 0 if it is missing or of another size.
func number(b []byte) uint64 {
	switch len(b) {
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// commentOf reads what comment wrote.
func commentOf(userdata []byte) string {
	for len(userdata) >= 2 && len(userdata) >= 2+int(userdata[1]) {
		content := userdata[2 : 2+int(userdata[1])]
		if userdata[0] == 0 {
			return text(content)
		}
		userdata = userdata[2+len(content):]
	}
	return ""
}
