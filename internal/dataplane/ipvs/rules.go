package ipvs

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
)

// companion writes the tables of nf_tables that do what IPVS cannot.
type companion struct {
	conn    *nft.Conn
	entries int // that were written
}

// room is the most bytes of a transaction, as far as the kernel grants them: a table is replaced in one.
const room = 64 << 20

func openCompanion() (*companion, error) {
	conn, err := nft.Dial(room)
	if err != nil {
		return nil, err
	}
	return &companion{conn: conn}, nil
}

func (c *companion) close() error { return c.conn.Close() }

// find reads the entries of a table whose rules are those of the layout; otherwise it says false.
func (c *companion) find(l *layout) (map[entry]bool, bool, error) {
	if sealed, err := c.intact(l); err != nil || !sealed {
		return nil, false, err
	}
	have := map[entry]bool{}
	for _, s := range sets() {
		err := c.conn.ListElements(l.table(), s.name, func(e nft.Element) {
			n := entry{v4: l.v4, set: s.name, key: string(e.Key) + string(e.KeyEnd)}
			if s.isMap && len(e.Value) >= 4 {
				n.value = binary.NativeEndian.Uint32(e.Value)
			}
			have[n] = true
		})
		if err != nil {
			return nil, false, err
		}
	}
	return have, true, nil
}

// make makes the table anew with entries, in one transaction if the kernel grants the room.
func (c *companion) make(l *layout, put []entry) error {
	tx := c.conn.Begin()
	if err := l.declare(tx, l.table()); err != nil {
		return err
	}
	return c.write(tx, l, edits{put: put})
}

// declare adds a table with its sets and rules, in place of one that may be there.
func (l *layout) declare(tx *nft.Transaction, t nft.Table) error {
	var list []*nft.Set
	for _, s := range sets() {
		list = append(list, s.nft(l))
	}
	return tx.Declare(t, list, append([]nft.Chain{{Name: l.seal()}}, l.chains()...))
}

// probe lets the kernel make the table under another name, and removes it.
func (c *companion) probe(l *layout) error {
	t, tx := l.table(), c.conn.Begin()
	t.Name += "-probe"
	err := l.declare(tx, t)
	if err == nil {
		tx.DeleteTable(t)
		err = c.conn.Commit(tx)
	}
	if err != nil {
		return fmt.Errorf("try the rules of table %v: %w (%w): want Linux 5.10 or newer with nf_tables, NAT, fib and reject",
			l.table(), err, dataplane.ErrNotSupported)
	}
	return nil
}

// edit changes entries.
func (c *companion) edit(l *layout, e edits) error { return c.write(c.conn.Begin(), l, e) }

// write commits a transaction with changes of entries, which are sorted by set.
func (c *companion) write(tx *nft.Transaction, l *layout, e edits) error {
	for _, part := range []struct {
		list []entry
		each func(*nft.Elements, *nft.Element)
		add  func(nft.Table, *nft.Set, nft.Elements)
	}{{e.drop, (*nft.Elements).Delete, tx.DeleteElements}, {e.put, (*nft.Elements).Add, tx.AddElements}} {
		var elements nft.Elements
		for i, n := range part.list {
			k := n.element()
			part.each(&elements, &k)
			if i+1 == len(part.list) || part.list[i+1].set != n.set {
				s := shapes[n.set]
				part.add(l.table(), s.nft(l), elements)
				elements = nil
			}
		}
		c.entries += len(part.list)
	}
	if err := c.conn.CommitParts(tx); err != nil {
		return fmt.Errorf("write table %v (%d elements out, %d in): %w", l.table(), len(e.drop), len(e.put), err)
	}
	return nil
}

// element returns the entry in the form that the kernel has it.
func (e entry) element() nft.Element {
	s, key := shapes[e.set], []byte(e.key)
	k := nft.Element{Key: key}
	if s.ranges {
		k.Key, k.KeyEnd = key[:len(key)/2], key[len(key)/2:]
	}
	if s.isMap {
		k.Value = nft.Native(e.value)
	}
	return k
}

// intact reports whether the table is there with its rules.
func (c *companion) intact(l *layout) (bool, error) {
	chains, err := c.conn.FindChains(l.table())
	_, sealed := chains[l.seal()]
	return sealed, err
}

// yield removes the chains that claim the addresses of kube-ipvs0, and the seal: a Sync makes the table anew.
func (c *companion) yield(l *layout) error {
	chains, err := c.conn.FindChains(l.table())
	if err != nil {
		return err
	}
	tx := c.conn.Begin()
	for name := range chains {
		if name == claimPrerouting || name == claimOutput || strings.HasPrefix(name, sealed) {
			tx.DeleteRule(l.table(), name, 0)
			tx.DeleteChain(l.table(), name)
		}
	}
	if err := c.conn.Commit(tx); err != nil {
		return fmt.Errorf("remove the claims of table %v: %w", l.table(), err)
	}
	return nil
}

// remove removes the table, if it is there.
func (c *companion) remove(l *layout) error {
	if _, err := c.conn.RemoveTable(l.table()); err != nil {
		return fmt.Errorf("remove table %v: %w", l.table(), err)
	}
	return nil
}

// exists reports whether there is a table, whatever its rules.
func (c *companion) exists(l *layout) (bool, error) {
	found, err := c.conn.FindTable(l.table())
	return found != nil, err
}
