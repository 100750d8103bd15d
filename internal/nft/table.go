package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Table names a table.
type Table struct {
	Family *Family
	Name   string
}

func (t Table) String() string { return t.Family.Name + " " + t.Name }

// Flags of a table: the kernel lets only its owner change it (Linux 5.12), and it stays when the owner is gone
// (Linux 6.9).
const (
	TableOwner   uint32 = 0x2 // NFT_TABLE_F_OWNER
	TablePersist uint32 = 0x4 // NFT_TABLE_F_PERSIST

	tableHandle   = 4 // NFTA_TABLE_HANDLE
	tableUserdata = 6 // NFTA_TABLE_USERDATA
	tableOwner    = 7 // NFTA_TABLE_OWNER
)

// NewTable adds a table; nothing happens if it is there. The title is its comment and may be empty.
func (t *Transaction) NewTable(table Table, flags uint32, title string) {
	t.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, table, "table "+table.String(), func(b *buffer) {
		b.uint32(unix.NFTA_TABLE_FLAGS, flags)
		if title != "" {
			b.attr(tableUserdata, comment(title)...)
		}
	})
}

// DeleteTable deletes a table that is there.
func (t *Transaction) DeleteTable(table Table) {
	t.add(unix.NFT_MSG_DELTABLE, 0, table, "table "+table.String(), func(*buffer) {})
}

// Declare adds a table with sets, chains and their rules, in place of one that may be there.
func (t *Transaction) Declare(table Table, sets []*Set, chains []Chain) error {
	t.NewTable(table, 0, "") // so that there is one to delete
	t.DeleteTable(table)
	t.NewTable(table, 0, "")
	for _, s := range sets {
		t.NewSet(table, s)
	}
	for _, c := range chains {
		t.NewChain(table, c)
	}
	for _, c := range chains {
		for _, r := range c.Rules {
			if err := t.NewRule(table, c.Name, r, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// TableInfo is what the kernel lists of a table.
type TableInfo struct {
	Handle  uint64 // a table that is made again has another
	Flags   uint32
	Owner   uint32 // port of the socket that owns it, if Flags has TableOwner
	Comment string
}

// FindTable looks a table up; it is nil if there is none.
func (c *Conn) FindTable(table Table) (found *TableInfo, err error) {
	err = c.list(unix.NFT_MSG_GETTABLE, 0, table, "", func(a attributes) {
		found = &TableInfo{
			number(a[tableHandle]), uint32(number(a[unix.NFTA_TABLE_FLAGS])), uint32(number(a[tableOwner])), commentOf(a[tableUserdata]),
		}
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up table %v: %w", table, err)
	}
	return found, nil
}

// RemoveTable deletes a table if it is there, and reports whether it was.
func (c *Conn) RemoveTable(table Table) (bool, error) {
	found, err := c.FindTable(table)
	if err != nil || found == nil {
		return false, err
	}
	t := c.Begin()
	t.DeleteTable(table)
	return true, c.Commit(t)
}
