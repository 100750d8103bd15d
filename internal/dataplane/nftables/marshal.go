package nftables

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Flags of a table: the kernel lets only its owner change it (Linux 5.12), and it
// stays when the owner is gone (Linux 6.9).
const (
	tableOwner   = 0x2 // NFT_TABLE_F_OWNER
	tablePersist = 0x4 // NFT_TABLE_F_PERSIST

	tableUserdata = 6 // NFTA_TABLE_USERDATA
	tableOwnerID  = 7 // NFTA_TABLE_OWNER
	tableHandle   = 4 // NFTA_TABLE_HANDLE
)

func (t *transaction) newTable(l *layout, table string, flags uint32) {
	t.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, l.number, "table "+l.family.name+" "+table, func(b *buffer) {
		b.string(unix.NFTA_TABLE_NAME, table)
		b.uint32(unix.NFTA_TABLE_FLAGS, flags)
		b.attr(tableUserdata, comment(title)...)
	})
}

func (t *transaction) deleteTable(f *family, table string) {
	t.add(unix.NFT_MSG_DELTABLE, 0, f.number, "table "+f.name+" "+table, func(b *buffer) {
		b.string(unix.NFTA_TABLE_NAME, table)
	})
}

func (t *transaction) newSet(f *family, table string, s *set, id uint32) {
	t.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, f.number, "set "+s.name, func(b *buffer) {
		b.string(unix.NFTA_SET_TABLE, table)
		b.string(unix.NFTA_SET_NAME, s.name)
		b.uint32(unix.NFTA_SET_ID, id)
		b.uint32(unix.NFTA_SET_FLAGS, s.flags())
		kind, size := typeOf(s.key)
		b.uint32(unix.NFTA_SET_KEY_TYPE, kind)
		b.uint32(unix.NFTA_SET_KEY_LEN, size)
		if s.value != nil {
			kind, size := typeOf(s.value)
			b.uint32(unix.NFTA_SET_DATA_TYPE, kind)
			b.uint32(unix.NFTA_SET_DATA_LEN, size)
		}
		if size := s.size(); size > 0 {
			at := b.nest(unix.NFTA_SET_DESC)
			b.uint32(unix.NFTA_SET_DESC_SIZE, size)
			b.end(at)
		}
		b.attr(unix.NFTA_SET_USERDATA, s.notes()...)
	})
}

// size is how many elements the set takes, 0 if not limited.
func (s *set) size() uint32 {
	switch {
	case !s.dynamic:
		return 0
	case s.places == begunPlaces:
		return maxBegun
	}
	return maxClients
}

func (s *set) flags() uint32 {
	var flags uint32
	if s.value != nil {
		flags |= unix.NFT_SET_MAP
	}
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.dynamic {
		flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	}
	return flags
}

// typeOf is the number that nft gives a concatenation: six bits for each type. The
// kernel keeps it and never looks at it. The size is in bytes.
func typeOf(fields []field) (kind, size uint32) {
	if len(fields) == 1 {
		return fields[0].number, uint32(fields[0].size)
	}
	for _, f := range fields {
		kind = kind<<6 | f.number
		size += uint32(f.padded())
	}
	return kind, size
}

// notes is the user data that nft wants to find in a set, or it lists a set of
// integers that it cannot load again. (nft 1.0.6; later versions read the same.)
func (s *set) notes() []byte {
	b := noteUint32(nil, noteKeyByteOrder, byteOrder(s.key))
	if s.value != nil {
		b = noteUint32(b, noteDataByteOrder, byteOrder(s.value))
	}
	b = s.appendTypeof(b, noteKeyTypeof, s.key)
	if s.value != nil {
		b = s.appendTypeof(b, noteDataTypeof, s.value)
		b = noteUint32(b, noteDataInterval, 0)
	}
	return b
}

// byteOrder is nft's number for the byte order of a key or value.
func byteOrder(fields []field) uint32 {
	switch {
	case len(fields) > 1:
		return 0 // each part has its own
	case fields[0].part == numberPart:
		return 1 // the machine's
	}
	return 2 // the network's
}

// byTypeof reports whether the set is declared by expressions and not by types: nft
// has no name for the type of a slot or a place.
func (s *set) byTypeof() bool { return s.class.size > 0 || s.dynamic }

// appendTypeof adds nft's note on the expressions of a key or value. Where the set is
// declared by types a concatenation is without parts, and a single one has no note.
func (s *set) appendTypeof(b []byte, kind byte, fields []field) []byte {
	var parts []byte
	if len(fields) == 1 {
		if s.byTypeof() {
			b = note(b, kind, fields[0].note)
		}
		return b
	}
	if s.byTypeof() {
		for i, f := range fields {
			parts = note(parts, byte(i), f.note)
		}
	}
	return note(b, kind, noteExpression(noteConcat, parts))
}

func (t *transaction) newChain(f *family, table string, c chain) {
	t.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, f.number, "chain "+c.name, func(b *buffer) {
		b.string(unix.NFTA_CHAIN_TABLE, table)
		b.string(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook == nil {
			return
		}
		at := b.nest(unix.NFTA_CHAIN_HOOK)
		b.uint32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
		b.uint32(unix.NFTA_HOOK_PRIORITY, uint32(c.hook.priority))
		b.end(at)
		b.uint32(unix.NFTA_CHAIN_POLICY, accept)
		b.string(unix.NFTA_CHAIN_TYPE, c.hook.kind)
	})
}

// deleteChain deletes a chain without rules that nothing leads to.
func (t *transaction) deleteChain(f *family, table, name string) {
	t.add(unix.NFT_MSG_DELCHAIN, 0, f.number, "chain "+name, func(b *buffer) {
		b.string(unix.NFTA_CHAIN_TABLE, table)
		b.string(unix.NFTA_CHAIN_NAME, name)
	})
}

func (t *transaction) deleteSet(f *family, table string, s *set) {
	t.add(unix.NFT_MSG_DELSET, 0, f.number, "set "+s.name, func(b *buffer) {
		b.string(unix.NFTA_SET_TABLE, table)
		b.string(unix.NFTA_SET_NAME, s.name)
	})
}

// newRule adds a rule: before the one with a handle, or at the end.
func (t *transaction) newRule(f *family, table, chain string, r phrase, before uint64) error {
	list, err := marshalExprs(f, r.exprs)
	if err != nil {
		return fmt.Errorf("rule %q: %w", r.text, err)
	}
	flags := uint16(unix.NLM_F_CREATE)
	if before == 0 {
		flags |= unix.NLM_F_APPEND
	}
	t.add(unix.NFT_MSG_NEWRULE, flags, f.number, fmt.Sprintf("rule %q in chain %s", r.text, chain), func(b *buffer) {
		b.string(unix.NFTA_RULE_TABLE, table)
		b.string(unix.NFTA_RULE_CHAIN, chain)
		if before != 0 {
			b.uint64(unix.NFTA_RULE_POSITION, before)
		}
		b.attr(nested|unix.NFTA_RULE_EXPRESSIONS, list...)
	})
	return nil
}

// deleteRule deletes the rule with a handle, or all of a chain.
func (t *transaction) deleteRule(f *family, table, chain string, handle uint64) {
	t.add(unix.NFT_MSG_DELRULE, 0, f.number, "rules of chain "+chain, func(b *buffer) {
		b.string(unix.NFTA_RULE_TABLE, table)
		b.string(unix.NFTA_RULE_CHAIN, chain)
		if handle != 0 {
			b.uint64(unix.NFTA_RULE_HANDLE, handle)
		}
	})
}

func marshalExprs(f *family, exprs []expr.Any) (buffer, error) {
	var list buffer
	for _, e := range exprs {
		content, err := marshalExpr(f, e)
		if err != nil {
			return nil, fmt.Errorf("marshal %T: %w", e, err)
		}
		list.attr(nested|unix.NFTA_LIST_ELEM, content...)
	}
	return list, nil
}

func marshalExpr(f *family, e expr.Any) ([]byte, error) {
	if o, ok := e.(*original); ok {
		return o.encode(), nil
	}
	return expr.Marshal(f.number, e)
}

// maxList is the most bytes of elements in one message: the length of an attribute has 16 bits.
const maxList = 0xffff - attrHeader

// elements adds messages that add or delete a list of elements. A list that is
// too long for an attribute becomes several messages; the kernel would take the
// length modulo 65,536 without a word, and so lose elements.
func (t *transaction) elements(kind, flags uint16, l *layout, table string, s *set, list buffer) {
	verb := "adding to "
	if kind == unix.NFT_MSG_DELSETELEM {
		verb = "deleting from "
	}
	for len(list) > 0 {
		n := wholeElements(list)
		t.add(kind, flags, l.number, verb+s.name, func(b *buffer) {
			b.string(unix.NFTA_SET_ELEM_LIST_TABLE, table)
			b.string(unix.NFTA_SET_ELEM_LIST_SET, s.name)
			b.attr(nested|unix.NFTA_SET_ELEM_LIST_ELEMENTS, list[:n]...)
		})
		t.objects[len(t.objects)-1].set = s
		list = list[n:]
	}
}

// wholeElements is how many bytes of a list fit into one attribute.
func wholeElements(list buffer) int {
	n := 0
	for n < len(list) {
		size := int(binary.NativeEndian.Uint16(list[n:])+3) &^ 3
		if n+size > maxList {
			break
		}
		n += size
	}
	return n
}

// accept is NF_ACCEPT, the policy of base chains: what is no frontend is not our business.
const accept = 1
