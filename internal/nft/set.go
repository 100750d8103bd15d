package nft

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Set is a set, or a map if it has a Value.
type Set struct {
	Name     string
	Key      []Field
	Value    []Field
	Interval bool   // of networks; of a concatenation the last field is one
	Dynamic  bool   // packets add to it, and the kernel deletes elements when their time is over
	Counter  bool   // elements count the packets that find them
	Size     uint32 // the most elements, 0 if not limited
	Typeof   bool   // declared by expressions and not by types: nft has no name for the type of a part
}

const (
	setConcat     = 0x80 // NFT_SET_CONCAT
	setDescConcat = 2    // NFTA_SET_DESC_CONCAT
	setFieldLen   = 1    // NFTA_SET_FIELD_LEN
	setExpr       = 17   // NFTA_SET_EXPR
	setCount      = 20   // NFTA_SET_COUNT, Linux 6.15
)

func (s *Set) flags() uint32 {
	var flags uint32
	if s.Value != nil {
		flags |= unix.NFT_SET_MAP
	}
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.ranges() {
		flags |= setConcat
	}
	if s.Dynamic {
		flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	}
	return flags
}

// ranges reports whether the keys are concatenations with a last field that is a network.
func (s *Set) ranges() bool { return s.Interval && len(s.Key) > 1 }

// NewSet adds a set.
func (t *Transaction) NewSet(table Table, s *Set) {
	t.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, table, "set "+s.Name, func(b *buffer) {
		b.string(unix.NFTA_SET_NAME, s.Name)
		b.uint32(unix.NFTA_SET_ID, uint32(len(t.objects))) // which no other set of the transaction has
		b.uint32(unix.NFTA_SET_FLAGS, s.flags())
		i := s.Info()
		b.uint32(unix.NFTA_SET_KEY_TYPE, i.keyType)
		b.uint32(unix.NFTA_SET_KEY_LEN, i.keySize)
		if s.Value != nil {
			b.uint32(unix.NFTA_SET_DATA_TYPE, i.dataType)
			b.uint32(unix.NFTA_SET_DATA_LEN, i.dataSize)
		}
		s.describe(b)
		if s.Counter {
			at := b.nest(setExpr)
			b.string(unix.NFTA_EXPR_NAME, "counter")
			b.attr(nested | unix.NFTA_EXPR_DATA)
			b.end(at)
		}
		b.attr(unix.NFTA_SET_USERDATA, []byte(i.notes)...)
	})
}

// describe adds how many elements the set takes, and how long the fields of ranges are.
func (s *Set) describe(b *buffer) {
	if s.Size == 0 && !s.ranges() {
		return
	}
	at := b.nest(unix.NFTA_SET_DESC)
	if s.Size > 0 {
		b.uint32(unix.NFTA_SET_DESC_SIZE, s.Size)
	}
	if s.ranges() {
		list := b.nest(setDescConcat)
		for _, f := range s.Key {
			field := b.nest(unix.NFTA_LIST_ELEM)
			b.uint32(setFieldLen, uint32(f.Size))
			b.end(field)
		}
		b.end(list)
	}
	b.end(at)
}

// DeleteSet deletes a set that no rule names.
func (t *Transaction) DeleteSet(table Table, name string) {
	t.add(unix.NFT_MSG_DELSET, 0, table, "set "+name, func(b *buffer) { b.string(unix.NFTA_SET_NAME, name) })
}

// notes returns the user data that nft needs in a set: without it, it lists a set of integers that it cannot load
// again. (nft 1.0.6; later versions read the same.)
func (s *Set) notes() []byte {
	b := noteUint32(nil, noteKeyByteOrder, byteOrder(s.Key))
	if s.Value != nil {
		b = noteUint32(b, noteDataByteOrder, byteOrder(s.Value))
	}
	b = s.appendTypeof(b, noteKeyTypeof, s.Key)
	if s.Value != nil {
		b = s.appendTypeof(b, noteDataTypeof, s.Value)
		b = noteUint32(b, noteDataInterval, 0)
	}
	return b
}

// byteOrder returns nft's number for the byte order of a key or value.
func byteOrder(fields []Field) uint32 {
	switch {
	case len(fields) > 1:
		return 0 // each part has its own
	case fields[0].native:
		return 1
	}
	return 2 // the network's
}

// appendTypeof adds nft's note on the expressions of a key or value. If the set is declared by types, a concatenation
// is without parts, and a single one has no note.
func (s *Set) appendTypeof(b []byte, kind byte, fields []Field) []byte {
	var parts []byte
	if len(fields) == 1 {
		if s.Typeof {
			b = note(b, kind, fields[0].Note)
		}
		return b
	}
	if s.Typeof {
		for i, f := range fields {
			parts = note(parts, byte(i), f.Note)
		}
	}
	return note(b, kind, noteExpression(noteConcat, parts))
}

// SetInfo is what the kernel lists of a set.
type SetInfo struct {
	flags, keyType, keySize, dataType, dataSize uint32

	Size  uint32 // the most elements, 0 if not limited
	notes string
	Count int // of elements, -1 if unknown (before Linux 6.15)
}

// Info returns what the kernel lists of the set, with a Count of 0.
func (s *Set) Info() SetInfo {
	i := SetInfo{flags: s.flags(), Size: s.Size, notes: string(s.notes())}
	i.keyType, i.keySize = typeOf(s.Key)
	if s.Value != nil {
		i.dataType, i.dataSize = typeOf(s.Value)
	}
	return i
}

// HasKey reports whether the keys are of these types.
func (i SetInfo) HasKey(fields []Field) bool {
	kind, size := typeOf(fields)
	return i.keyType == kind && i.keySize == size
}

// FindSets lists the sets of a table, by name.
func (c *Conn) FindSets(table Table) (map[string]SetInfo, error) {
	found := map[string]SetInfo{}
	err := c.list(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, table, "", func(a attributes) {
		found[text(a[unix.NFTA_SET_NAME])] = setInfo(a)
	})
	if err != nil {
		return nil, fmt.Errorf("list the sets of table %v: %w", table, err)
	}
	return found, nil
}

func setInfo(a attributes) SetInfo {
	n := func(kind int) uint32 { return uint32(number(a[kind])) }
	i := SetInfo{
		n(unix.NFTA_SET_FLAGS), n(unix.NFTA_SET_KEY_TYPE), n(unix.NFTA_SET_KEY_LEN), n(unix.NFTA_SET_DATA_TYPE), n(unix.NFTA_SET_DATA_LEN),
		uint32(number(attrOf(a[unix.NFTA_SET_DESC], unix.NFTA_SET_DESC_SIZE))), string(a[unix.NFTA_SET_USERDATA]), -1,
	}
	if a[setCount] != nil {
		i.Count = int(number(a[setCount]))
	}
	return i
}
