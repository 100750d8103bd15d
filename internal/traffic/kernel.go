package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// tableName is the name of the table in both families.
const tableName = "signpost-traffic"

// Priorities of the chains. Packets of clients are counted after connection tracking (-200),
// which determines their direction, and before any rule that refuses (-110 in nftables mode) or
// translates them (-100). Replies are counted after their source is translated back (100).
const (
	beforeAll = -120
	afterAll  = 110
)

// The counted sets. The elements of each are places with a counter.
const (
	connections = "connections" // first packets of connections
	received    = "in"          // packets from clients
	sent        = "out"         // packets to clients
)

var all = []string{connections, received, sent}

// numbers are the counters of a place.
type numbers struct{ connections, packetsIn, bytesIn, packetsOut, bytesOut uint64 }

func (n *numbers) add(o numbers) {
	n.connections += o.connections
	n.packetsIn, n.bytesIn = n.packetsIn+o.packetsIn, n.bytesIn+o.bytesIn
	n.packetsOut, n.bytesOut = n.packetsOut+o.packetsOut, n.bytesOut+o.bytesOut
}

// kernel writes and reads the tables. It is not safe for concurrent use.
type kernel struct {
	conn *nftables.Conn
	v6   bool
}

// openKernel opens a netlink socket in the network namespace of the calling thread.
func openKernel(v6 bool) (*kernel, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	return &kernel{conn, v6}, nil
}

func (k *kernel) close() error { return k.conn.CloseLasting() }

func (k *kernel) families() []nftables.TableFamily {
	if k.v6 {
		return []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}
	}
	return []nftables.TableFamily{nftables.TableFamilyIPv4}
}

func tableOf(f nftables.TableFamily) *nftables.Table {
	return &nftables.Table{Name: tableName, Family: f}
}

func setOf(f nftables.TableFamily, name string) *nftables.Set {
	addr := nftables.TypeIPAddr
	if f == nftables.TableFamilyIPv6 {
		addr = nftables.TypeIP6Addr
	}
	return &nftables.Set{
		Table: tableOf(f), Name: name, Counter: true,
		KeyType: nftables.MustConcatSetType(addr, nftables.TypeInetProto, nftables.TypeInetService),
	}
}

// make recreates the tables, without any place.
func (k *kernel) make() error {
	for _, f := range k.families() {
		t := tableOf(f)
		k.conn.AddTable(t) // DelTable fails if there is none
		k.conn.DelTable(t)
		k.conn.AddTable(t)
		for _, name := range all {
			_ = k.conn.AddSet(setOf(f, name), nil) // fails for anonymous sets only
		}
		rules(k.conn, t)
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("create table %s (want Linux 5.10 or newer with nf_tables and nft_ct): %w", tableName, err)
	}
	return nil
}

// remove removes the existing tables. It writes nothing if there are none.
func (k *kernel) remove() error {
	for _, f := range k.families() {
		list, err := k.conn.ListTablesOfFamily(f)
		if err != nil {
			return fmt.Errorf("look for table %s: %w", tableName, err)
		}
		if slices.ContainsFunc(list, func(t *nftables.Table) bool { return t.Name == tableName }) {
			k.conn.DelTable(tableOf(f))
		}
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", tableName, err)
	}
	return nil
}

// perMessage is the number of elements per message: a netlink attribute holds at most 64 KiB.
const perMessage = 400

// edit removes places from the sets and adds others, each set in one transaction with
// the others. A place that is removed and added restarts at zero.
func (k *kernel) edit(out, in []place) error {
	var errs []error
	for _, f := range k.families() {
		for _, name := range all {
			s := setOf(f, name)
			for list := range slices.Chunk(keys(f, out), perMessage) {
				errs = append(errs, k.conn.SetDeleteElements(s, list))
			}
			for list := range slices.Chunk(keys(f, in), perMessage) {
				errs = append(errs, k.conn.SetAddElements(s, list))
			}
		}
	}
	if err := errors.Join(append(errs, k.conn.Flush())...); err != nil {
		return fmt.Errorf("write table %s (%d places out, %d in): %w", tableName, len(out), len(in), err)
	}
	return nil
}

func keys(f nftables.TableFamily, list []place) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range list {
		if p.addr.Is4() == (f == nftables.TableFamilyIPv4) {
			key := append(p.addr.AsSlice(), byte(p.protocol), 0, 0, 0)
			out = append(out, nftables.SetElement{Key: append(binary.BigEndian.AppendUint16(key, p.port), 0, 0)})
		}
	}
	return out
}

// read returns the numbers of all places.
func (k *kernel) read() (map[place]numbers, error) {
	there := map[place]numbers{}
	for _, f := range k.families() {
		for _, name := range all {
			list, err := k.conn.GetSetElements(setOf(f, name))
			if err != nil {
				return nil, fmt.Errorf("read set %s of table %s: %w", name, tableName, err)
			}
			for _, e := range list {
				p, ok := placeOf(e.Key)
				if !ok || e.Counter == nil {
					continue
				}
				n := there[p]
				switch name {
				case connections:
					n.connections = e.Counter.Packets
				case received:
					n.packetsIn, n.bytesIn = e.Counter.Packets, e.Counter.Bytes
				case sent:
					n.packetsOut, n.bytesOut = e.Counter.Packets, e.Counter.Bytes
				}
				there[p] = n
			}
		}
	}
	return there, nil
}

func placeOf(key []byte) (place, bool) {
	const rest = 8 // protocol and port, one register each
	if len(key) < rest {
		return place{}, false
	}
	a, ok := netip.AddrFromSlice(key[:len(key)-rest])
	key = key[len(key)-rest:]
	return place{a, cluster.Protocol(key[0]), binary.BigEndian.Uint16(key[4:])}, ok
}

// rules adds the chains. A packet from a process of this node to this node passes all four hooks
// and counts in output and in postrouting.
func rules(conn *nftables.Conn, t *nftables.Table) {
	chain := func(name string, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{
			Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority,
		})
	}
	add := func(c *nftables.Chain, exprs ...[]expr.Any) {
		conn.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: slices.Concat(exprs...)})
	}
	key := frontend(t.Family)
	for _, c := range []*nftables.Chain{
		chain("prerouting", nftables.ChainHookPrerouting, beforeAll), chain("output", nftables.ChainHookOutput, beforeAll),
	} {
		if c.Name == "prerouting" {
			add(c, isLoopback(), accept())
		}
		add(c, direction(original), isFirst(), key.at(destination), countIn(connections))
		add(c, direction(original), key.at(destination), countIn(received))
	}
	for _, c := range []*nftables.Chain{
		chain("input", nftables.ChainHookInput, afterAll), chain("postrouting", nftables.ChainHookPostrouting, afterAll),
	} {
		if c.Name == "input" {
			add(c, isLoopback(), accept())
		}
		add(c, direction(reply), key.at(source), countIn(sent))
	}
}

// A frontend loads the key of a place from a packet of a family.
type frontend nftables.TableFamily

// end is one side of a packet.
type end uint32

const (
	source end = iota
	destination
)

// at loads address, protocol and port of one side into the registers.
func (f frontend) at(side end) []expr.Any {
	offset, size := uint32(12), uint32(4) // source address in the IPv4 header
	if nftables.TableFamily(f) == nftables.TableFamilyIPv6 {
		offset, size = 8, 16
	}
	next := firstRegister + size/4
	return []expr.Any{
		&expr.Payload{DestRegister: firstRegister, Base: expr.PayloadBaseNetworkHeader, Offset: offset + uint32(side)*size, Len: size},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next},
		&expr.Payload{DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: uint32(side) * 2, Len: 2},
	}
}

// firstRegister is the first 4-byte register.
const firstRegister = uint32(unix.NFT_REG32_00)

// countIn looks up a place in a set; a match increments the element's counter.
func countIn(set string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: firstRegister, SetName: set}}
}

// The directions of a packet in its connection (enum ip_conntrack_dir).
const (
	original byte = iota
	reply
)

func direction(d byte) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{d}},
	}
}

// isFirst matches the first packet of a connection, before the connection is confirmed. A
// dropped connection is never confirmed, so each further attempt counts.
func isFirst() []expr.Any {
	const confirmed = 1 << 3 // IPS_CONFIRMED
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: unix.NFT_REG_1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: native(confirmed), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(0)},
	}
}

func isLoopback() []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: name},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

// native encodes an integer for a register, in the byte order of the machine.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
