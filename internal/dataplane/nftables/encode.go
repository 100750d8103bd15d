package nftables

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// buffer collects netlink messages and their attributes. Lengths are filled in
// when a message or a nest ends. Attribute payloads of nf_tables are big-endian;
// the headers of netlink are in the byte order of the machine.
type buffer []byte

const (
	messageHeader = unix.SizeofNlMsghdr
	attrHeader    = unix.SizeofNlAttr
	familyHeader  = 4 // struct nfgenmsg
	nested        = unix.NLA_F_NESTED
)

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
func (b *buffer) nest(kind uint16) int {
	at := len(*b)
	*b = append(*b, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16((*b)[at+2:], kind|nested)
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
	at := b.nest(kind &^ nested)
	binary.NativeEndian.PutUint16((*b)[at+2:], kind)
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
	at := b.nest(kind)
	binary.NativeEndian.PutUint16((*b)[at+2:], kind)
	*b = append(append(*b, s...), 0)
	b.end(at)
}

// note appends an entry of what nft calls user data: a byte for the kind, one for
// the length, and the content. The kernel keeps user data and never looks at it.
func note(b []byte, kind byte, content []byte) []byte {
	return append(append(b, kind, byte(len(content))), content...)
}

func noteUint32(b []byte, kind byte, v uint32) []byte {
	return note(b, kind, binary.NativeEndian.AppendUint32(nil, v))
}

// maxComment is the longest comment, in bytes, that nft takes back when it loads its own listing.
const maxComment = 128

// comment is user data that nft lists as a comment. The kind is 0 for tables, rules and elements.
func comment(text string) []byte {
	return note(nil, 0, append([]byte(commentText(text)), 0))
}

// commentText is what fits into a comment. What would end the quoted string in a
// listing, or a line, is replaced, or the listing could not be loaded any more.
func commentText(text string) string {
	if len(text) > maxComment {
		text = text[:maxComment]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, text)
}
