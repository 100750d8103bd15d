package nft

import (
	"encoding/binary"
	"iter"
	"strings"

	"golang.org/x/sys/unix"
)

// buffer collects netlink messages and their attributes. endMessage and end fill in lengths. Attribute payloads of
// nf_tables are big-endian; the headers of netlink are in the byte order of the machine.
type buffer []byte

const (
	messageHeader = unix.SizeofNlMsghdr
	attrHeader    = unix.SizeofNlAttr
	familyHeader  = 4 // struct nfgenmsg
	nested        = unix.NLA_F_NESTED
)

// padded returns the size of something in a message, where all is aligned to four bytes.
func padded(n int) int { return (n + 3) &^ 3 }

// kindOf returns the kind of an nf_tables message.
func kindOf(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// message begins a message and returns its place for endMessage.
func (b *buffer) message(kind, flags uint16, family byte) int {
	at := len(*b)
	*b = append(*b, make([]byte, messageHeader)...)
	binary.NativeEndian.PutUint16((*b)[at+4:], kind)
	binary.NativeEndian.PutUint16((*b)[at+6:], flags)
	*b = append(*b, family, unix.NFNETLINK_V0, 0, 0)
	return at
}

func (b *buffer) endMessage(at int) {
	binary.NativeEndian.PutUint32((*b)[at:], uint32(len(*b)-at))
}

// nest begins an attribute that holds attributes, and returns its place for end.
func (b *buffer) nest(kind uint16) int { return b.begin(kind | nested) }

// begin begins an attribute and returns its place for end.
func (b *buffer) begin(kind uint16) int {
	at := len(*b)
	*b = append(*b, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16((*b)[at+2:], kind)
	return at
}

func (b *buffer) end(at int) {
	binary.NativeEndian.PutUint16((*b)[at:], uint16(len(*b)-at))
	for len(*b)%unix.NLA_ALIGNTO != 0 {
		*b = append(*b, 0)
	}
}

// attr adds an attribute.
func (b *buffer) attr(kind uint16, payload ...byte) {
	at := b.begin(kind)
	*b = append(*b, payload...)
	b.end(at)
}

func (b *buffer) uint32(kind uint16, v uint32) {
	b.attr(kind, binary.BigEndian.AppendUint32(nil, v)...)
}

func (b *buffer) uint64(kind uint16, v uint64) {
	b.attr(kind, binary.BigEndian.AppendUint64(nil, v)...)
}

func (b *buffer) string(kind uint16, s string) {
	at := b.begin(kind)
	*b = append(append(*b, s...), 0)
	b.end(at)
}

// attrs yields the attributes in a payload: kind without flags, and content. It stops at what is no attribute. The
// kernel sends none, and nothing else writes these bytes.
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
			b = b[min(len(b), padded(size)):]
		}
	}
}

// attributes are contents of attributes by kind, nil for those that are missing.
type attributes [32][]byte

func parse(b []byte) (a attributes) {
	for kind, content := range attrs(b) {
		if int(kind) < len(a) {
			a[kind] = content
		}
	}
	return a
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

// text returns the content of a string attribute.
func text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

// number returns the content of an integer attribute, 0 if it is missing or of another size.
func number(b []byte) uint64 {
	switch len(b) {
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// note appends an entry of what nft calls user data: a byte for the kind, one for the length, and the content. The
// kernel keeps user data and never looks at it.
func note(b []byte, kind byte, content []byte) []byte {
	return append(append(b, kind, byte(len(content))), content...)
}

func noteUint32(b []byte, kind byte, v uint32) []byte {
	return note(b, kind, binary.NativeEndian.AppendUint32(nil, v))
}

// MaxComment is the longest comment, in bytes, that nft takes when it loads its own listing.
const MaxComment = 128

// comment returns user data that nft lists as a comment. The kind is 0 for tables, rules and elements.
func comment(text string) []byte {
	return note(nil, 0, append([]byte(CommentText(text)), 0))
}

// CommentText returns what fits into a comment. It replaces what would end the quoted string in a listing, or a line:
// nft could not load the listing.
func CommentText(text string) string {
	if len(text) > MaxComment {
		text = text[:MaxComment]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, text)
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
