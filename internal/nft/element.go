package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Element is an element of a set, as bytes: each field of a key is padded to four bytes. The slices of an element that
// the kernel lists are valid only while it is handled.
type Element struct {
	Key     []byte
	KeyEnd  []byte // the last key of a range, in a set of ranges
	End     bool   // the first address after an interval, and not one in it
	Value   []byte // in a map
	Comment string

	Packets, Bytes uint64 // counted, in a set with a Counter
}

// Elements is a list of elements for a message.
type Elements []byte

// Add appends an element to a list of those that are added.
func (l *Elements) Add(e *Element) {
	b := (*buffer)(l)
	element := b.nest(unix.NFTA_LIST_ELEM)
	e.appendKey(b)
	if e.Value != nil {
		b.data(unix.NFTA_SET_ELEM_DATA, e.Value)
	}
	if e.Comment != "" {
		b.attr(unix.NFTA_SET_ELEM_USERDATA, comment(e.Comment)...)
	}
	b.end(element)
}

// Delete appends the key of an element to a list of those that are deleted.
func (l *Elements) Delete(e *Element) {
	b := (*buffer)(l)
	element := b.nest(unix.NFTA_LIST_ELEM)
	e.appendKey(b)
	b.end(element)
}

func (e *Element) appendKey(b *buffer) {
	b.data(unix.NFTA_SET_ELEM_KEY, e.Key)
	if e.KeyEnd != nil {
		b.data(elementKeyEnd, e.KeyEnd)
	}
	if e.End {
		b.uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
}

const elementKeyEnd = 10 // NFTA_SET_ELEM_KEY_END

// data adds a value in two layers of attributes.
func (b *buffer) data(kind uint16, value []byte) {
	at := b.nest(kind)
	b.attr(unix.NFTA_DATA_VALUE, value...)
	b.end(at)
}

// KeySize returns how many bytes Delete appends for an element of the set.
func (s *Set) KeySize(end bool) int {
	size := 3*attrHeader + s.padded(s.Key)
	if s.ranges() {
		size += 2*attrHeader + s.padded(s.Key)
	}
	if end {
		size += attrHeader + 4
	}
	return size
}

// ValueSize returns how many bytes Add appends more than Delete, for an element with a comment of so many bytes.
func (s *Set) ValueSize(comment int) int {
	size := 0
	if s.Value != nil {
		size = 2*attrHeader + s.padded(s.Value)
	}
	if comment > 0 {
		size += attrHeader + padded(2+min(comment, MaxComment)+1)
	}
	return size
}

func (s *Set) padded(fields []Field) (size int) {
	for i := range fields {
		size += fields[i].Padded()
	}
	return size
}

// maxList is the most bytes of elements in one message: the length of an attribute has 16 bits.
const maxList = 0xffff - attrHeader

// AddElements adds elements to a set.
func (t *Transaction) AddElements(table Table, s *Set, list Elements) {
	t.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "adding to ", table, s, list)
}

// DeleteElements deletes elements that are in a set.
func (t *Transaction) DeleteElements(table Table, s *Set, list Elements) {
	t.elements(unix.NFT_MSG_DELSETELEM, 0, "deleting from ", table, s, list)
}

// elements adds as many messages as the list requires. The kernel would take the length of an attribute modulo 65,536
// without an error, and lose elements.
func (t *Transaction) elements(kind, flags uint16, verb string, table Table, s *Set, list Elements) {
	for len(list) > 0 {
		n := wholeElements(list)
		t.add(kind, flags, table, verb+s.Name, func(b *buffer) {
			b.string(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
			b.attr(nested|unix.NFTA_SET_ELEM_LIST_ELEMENTS, list[:n]...)
		})
		t.objects[len(t.objects)-1].set = s
		list = list[n:]
	}
}

// wholeElements returns how many bytes of a list fit into one attribute.
func wholeElements(list Elements) int {
	n := 0
	for n < len(list) {
		size := padded(int(binary.NativeEndian.Uint16(list[n:])))
		if n+size > maxList {
			break
		}
		n += size
	}
	return n
}

const (
	elementExpr        = 7  // NFTA_SET_ELEM_EXPR
	elementExpressions = 11 // NFTA_SET_ELEM_EXPRESSIONS
	counterBytes       = 1  // NFTA_COUNTER_BYTES
	counterPackets     = 2  // NFTA_COUNTER_PACKETS
)

// parseElement reads an element as the kernel lists it.
func parseElement(b []byte) Element {
	a := parse(b)
	value := func(kind int) []byte { return attrOf(a[kind], unix.NFTA_DATA_VALUE) }
	e := Element{
		Key: value(unix.NFTA_SET_ELEM_KEY), KeyEnd: value(elementKeyEnd), Value: value(unix.NFTA_SET_ELEM_DATA),
		End: number(a[unix.NFTA_SET_ELEM_FLAGS])&unix.NFT_SET_ELEM_INTERVAL_END != 0, Comment: commentOf(a[unix.NFTA_SET_ELEM_USERDATA]),
	}
	counter := a[elementExpr]
	if counter == nil {
		counter = attrOf(a[elementExpressions], unix.NFTA_LIST_ELEM)
	}
	if text(attrOf(counter, unix.NFTA_EXPR_NAME)) == "counter" {
		data := attrOf(counter, unix.NFTA_EXPR_DATA)
		e.Packets, e.Bytes = number(attrOf(data, counterPackets)), number(attrOf(data, counterBytes))
	}
	return e
}

// ListElements calls f with each element of a set. An element that comes or goes meanwhile may be missing or listed
// twice: a listing takes long, and other programs commit.
func (c *Conn) ListElements(table Table, set string, f func(Element)) error {
	err := c.list(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, table, set, func(a attributes) {
		for _, element := range attrs(a[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
			f(parseElement(element))
		}
	})
	if err != nil && !errors.Is(err, ErrInterrupted) {
		return fmt.Errorf("list %s of table %v: %w", set, table, err)
	}
	return nil
}

// Text returns an element as nft shows it.
func (s *Set) Text(e Element) string {
	words := textOf(s.Key, e.Key)
	if e.Comment != "" {
		words += ` comment "` + CommentText(e.Comment) + `"`
	}
	if e.Value != nil {
		words += " : " + textOf(s.Value, e.Value)
	}
	return words
}
