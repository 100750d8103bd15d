package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// companion writes the tables of nf_tables that do what IPVS cannot.
type companion struct {
	conn    *nftables.Conn
	entries int // that were written
}

// Buffers for a transaction and for the kernel's answers, as far as the kernel grants them.
const buffer = 64 << 20

func openCompanion() (*companion, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(
		func(c *netlink.Conn) error { return c.SetWriteBuffer(buffer) },
		func(c *netlink.Conn) error { return c.SetReadBuffer(buffer) },
	))
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	return &companion{conn: conn}, nil
}

func (c *companion) close() error { return c.conn.CloseLasting() }

func table(l *layout) *nftables.Table {
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv6}
	if l.v4 {
		t.Family = nftables.TableFamilyIPv4
	}
	return t
}

// kernelSet is a set as the library has it.
func kernelSet(l *layout, s set) *nftables.Set {
	addr := nftables.TypeIP6Addr
	if l.v4 {
		addr = nftables.TypeIPAddr
	}
	types := map[field]nftables.SetDatatype{
		destination: addr, source: addr, protocol: nftables.TypeInetProto, port: nftables.TypeInetService,
	}
	var key []nftables.SetDatatype
	for _, f := range s.fields {
		key = append(key, types[f])
	}
	k := &nftables.Set{Table: table(l), Name: s.name, KeyType: key[0], Interval: s.ranges, Concatenation: s.ranges}
	if len(key) > 1 {
		k.KeyType = nftables.MustConcatSetType(key...)
	}
	if s.isMap {
		k.IsMap, k.DataType = true, nftables.TypeMark
	}
	return k
}

// find reads the entries of a table whose rules are those of the layout; otherwise it says false.
func (c *companion) find(l *layout) (map[entry]bool, bool, error) {
	if sealed, err := c.intact(l); err != nil || !sealed {
		return nil, false, err
	}
	have := map[entry]bool{}
	for _, s := range sets() {
		list, err := c.conn.GetSetElements(kernelSet(l, s))
		if err != nil {
			return nil, false, fmt.Errorf("list set %s of table %s %s: %w", s.name, l.family(), tableName, err)
		}
		for _, e := range list {
			n := entry{v4: l.v4, set: s.name, key: string(e.Key) + string(e.KeyEnd)}
			if s.isMap && len(e.Val) >= 4 {
				n.value = binary.NativeEndian.Uint32(e.Val)
			}
			have[n] = true
		}
	}
	return have, true, nil
}

// make makes the table anew with entries, in one transaction.
func (c *companion) make(l *layout, put []entry) error {
	c.declare(l, table(l))
	return c.edit(l, edits{put: put})
}

// declare collects a table with its sets and rules, in place of one that may be there.
func (c *companion) declare(l *layout, t *nftables.Table) {
	c.conn.AddTable(t)
	c.conn.DelTable(t)
	c.conn.AddTable(t)
	for _, s := range sets() {
		k := kernelSet(l, s)
		k.Table = t
		_ = c.conn.AddSet(k, nil) // an error is about anonymous sets
	}
	c.conn.AddChain(&nftables.Chain{Name: l.seal(), Table: t})
	chains := l.chains()
	for _, ch := range chains {
		k := &nftables.Chain{Name: ch.name, Table: t}
		if ch.kind != "" {
			k.Type, k.Hooknum, k.Priority = ch.kind, ch.hook, nftables.ChainPriorityRef(ch.priority)
		}
		c.conn.AddChain(k)
		for _, r := range ch.rules {
			c.conn.AddRule(&nftables.Rule{Table: t, Chain: k, Exprs: r.exprs})
		}
	}
}

// probe lets the kernel make the table under another name, and removes it.
func (c *companion) probe(l *layout) error {
	t := table(l)
	t.Name += "-probe"
	c.declare(l, t)
	c.conn.DelTable(t)
	if err := c.conn.Flush(); err != nil {
		return fmt.Errorf("try the rules of table %s %s: %w (%w): expected Linux 5.10 or newer with nf_tables, NAT, fib and reject",
			l.family(), tableName, err, dataplane.ErrNotSupported)
	}
	return nil
}

// perMessage is how many elements go into one message: an attribute of netlink ends at 64 KiB.
const perMessage = 400

// edit commits what was collected, and changes of entries.
func (c *companion) edit(l *layout, e edits) error {
	var errs []error
	for _, part := range []struct {
		list []entry
		add  func(*nftables.Set, []nftables.SetElement) error
	}{{e.drop, c.conn.SetDeleteElements}, {e.put, c.conn.SetAddElements}} {
		for list := range bySet(part.list) {
			errs = append(errs, part.add(kernelSet(l, shapes[list[0].set]), kernelElements(list)))
			c.entries += len(list)
		}
	}
	if err := errors.Join(append(errs, c.conn.Flush())...); err != nil {
		return fmt.Errorf("write table %s %s (%d elements out, %d in): %w", l.family(), tableName, len(e.drop), len(e.put), err)
	}
	return nil
}

// bySet yields parts of a sorted list that fit a message and are of one set.
func bySet(list []entry) func(func([]entry) bool) {
	return func(yield func([]entry) bool) {
		for len(list) > 0 {
			n := 1
			for n < len(list) && n < perMessage && list[n].set == list[0].set {
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}

func kernelElements(list []entry) []nftables.SetElement {
	var all []nftables.SetElement
	for _, e := range list {
		s, key := shapes[e.set], []byte(e.key)
		k := nftables.SetElement{Key: key}
		if s.ranges {
			k.Key, k.KeyEnd = key[:len(key)/2], key[len(key)/2:]
		}
		if s.isMap {
			k.Val = native(e.value)
		}
		all = append(all, k)
	}
	return all
}

// intact reports whether the table is there with its rules.
func (c *companion) intact(l *layout) (bool, error) {
	chains, err := c.conn.ListChainsOfTableFamily(table(l).Family)
	if err != nil {
		return false, fmt.Errorf("list the chains of %s: %w", l.family(), err)
	}
	seal := l.seal()
	return slices.ContainsFunc(chains, func(k *nftables.Chain) bool {
		return k.Table.Name == tableName && k.Name == seal
	}), nil
}

// yield removes the chains that claim the addresses of kube-ipvs0, and the seal: a Sync makes the table anew.
func (c *companion) yield(l *layout) error {
	chains, err := c.conn.ListChainsOfTableFamily(table(l).Family)
	if err != nil {
		return fmt.Errorf("list the chains of %s: %w", l.family(), err)
	}
	for _, k := range chains {
		if k.Table.Name == tableName && (k.Name == claimPrerouting || k.Name == claimOutput || strings.HasPrefix(k.Name, sealed)) {
			c.conn.FlushChain(k)
			c.conn.DelChain(k)
		}
	}
	if err := c.conn.Flush(); err != nil {
		return fmt.Errorf("remove the claims of table %s %s: %w", l.family(), tableName, err)
	}
	return nil
}

// remove removes the table, if it is there.
func (c *companion) remove(l *layout) error {
	c.conn.AddTable(table(l))
	c.conn.DelTable(table(l))
	if err := c.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s %s: %w", l.family(), tableName, err)
	}
	return nil
}

// exists reports whether there is a table, whatever its rules.
func (c *companion) exists(l *layout) (bool, error) {
	tables, err := c.conn.ListTablesOfFamily(table(l).Family)
	for _, t := range tables {
		if t.Name == tableName {
			return true, nil
		}
	}
	return false, err
}
