package traffic

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/nft"
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

// kernel writes and reads the tables. It is used by one goroutine at a time.
type kernel struct {
	conn     *nft.Conn
	families []*nft.Family
}

// openKernel opens a socket in the network namespace of the calling thread.
func openKernel(v6 bool) (*kernel, error) {
	conn, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return nil, err
	}
	k := &kernel{conn, []*nft.Family{nft.IPv4}}
	if v6 {
		k.families = append(k.families, nft.IPv6)
	}
	return k, nil
}

func (k *kernel) close() error { return k.conn.Close() }

func tableOf(f *nft.Family) nft.Table { return nft.Table{Family: f, Name: tableName} }

// setOf returns a set whose elements count the packets that find them.
func setOf(f *nft.Family, name string) *nft.Set {
	return &nft.Set{Name: name, Key: []nft.Field{f.Destination(), nft.Protocol(), nft.Port()}, Counter: true}
}

// make makes the tables anew, without any place.
func (k *kernel) make() error {
	tx := k.conn.Begin()
	for _, f := range k.families {
		var sets []*nft.Set
		for _, name := range all {
			sets = append(sets, setOf(f, name))
		}
		if err := tx.Declare(tableOf(f), sets, chains(f)); err != nil {
			return fmt.Errorf("make table %s: %w", tableName, err)
		}
	}
	if err := k.conn.Commit(tx); err != nil {
		return fmt.Errorf("make table %s (want Linux 5.10 or newer with nf_tables and nft_ct): %w", tableName, err)
	}
	return nil
}

// remove removes the tables that are there, and writes nothing if there are none.
func (k *kernel) remove() error {
	for _, f := range k.families {
		if _, err := k.conn.RemoveTable(tableOf(f)); err != nil {
			return fmt.Errorf("remove table %s: %w", tableName, err)
		}
	}
	return nil
}

// edit removes places from the sets and then adds others. A place that is in both lists begins at zero.
func (k *kernel) edit(out, in []place) error {
	tx := k.conn.Begin()
	for _, f := range k.families {
		var drops, puts nft.Elements
		for e := range elements(f, out) {
			drops.Delete(&e)
		}
		for e := range elements(f, in) {
			puts.Add(&e)
		}
		for _, name := range all {
			tx.DeleteElements(tableOf(f), setOf(f, name), drops)
			tx.AddElements(tableOf(f), setOf(f, name), puts)
		}
	}
	if err := k.conn.CommitParts(tx); err != nil {
		return fmt.Errorf("write table %s (%d places out, %d in): %w", tableName, len(out), len(in), err)
	}
	return nil
}

// elements yields the elements of the places of a family.
func elements(f *nft.Family, list []place) iter.Seq[nft.Element] {
	return func(yield func(nft.Element) bool) {
		for _, p := range list {
			key := append(p.addr.AsSlice(), byte(p.protocol), 0, 0, 0)
			if f.Has(p.addr) && !yield(nft.Element{Key: append(binary.BigEndian.AppendUint16(key, p.port), 0, 0)}) {
				return
			}
		}
	}
}

// read returns the numbers of all places.
func (k *kernel) read() (map[place]numbers, error) {
	there := map[place]numbers{}
	for _, f := range k.families {
		for _, name := range all {
			err := k.conn.ListElements(tableOf(f), name, func(e nft.Element) {
				p, ok := placeOf(e.Key)
				if !ok {
					return
				}
				n := there[p]
				switch name {
				case connections:
					n.connections = e.Packets
				case received:
					n.packetsIn, n.bytesIn = e.Packets, e.Bytes
				case sent:
					n.packetsOut, n.bytesOut = e.Packets, e.Bytes
				}
				there[p] = n
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return there, nil
}

func placeOf(key []byte) (place, bool) {
	const rest = 8 // protocol and port, each in a register
	if len(key) < rest {
		return place{}, false
	}
	a, ok := netip.AddrFromSlice(key[:len(key)-rest])
	key = key[len(key)-rest:]
	return place{a, cluster.Protocol(key[0]), binary.BigEndian.Uint16(key[4:])}, ok
}

// chains returns the chains that count. A packet of a process of this node to this node passes all four hooks,
// and counts in output and in postrouting.
func chains(f *nft.Family) []nft.Chain {
	to := nft.Concat(f.Destination(), nft.Protocol(), nft.Port())
	from := nft.Concat(f.Source(), nft.Protocol(), nft.SourcePort())
	// A connection is confirmed once its first packet has passed. One that is dropped before never is: another
	// attempt counts again.
	requests := []nft.Statement{
		nft.Rule(nft.IsOriginal, nft.IsUnconfirmed, to, nft.In(connections, true)),
		nft.Rule(nft.IsOriginal, to, nft.In(received, true)),
	}
	answers := []nft.Statement{nft.Rule(nft.IsReply, from, nft.In(sent, true))}
	skipLoopback := []nft.Statement{nft.Rule(nft.FromInterface("lo", false, true), nft.Accept)}
	return []nft.Chain{
		{Name: "prerouting", Hook: hook(unix.NF_INET_PRE_ROUTING, beforeAll), Rules: slices.Concat(skipLoopback, requests)},
		{Name: "output", Hook: hook(unix.NF_INET_LOCAL_OUT, beforeAll), Rules: requests},
		{Name: "input", Hook: hook(unix.NF_INET_LOCAL_IN, afterAll), Rules: slices.Concat(skipLoopback, answers)},
		{Name: "postrouting", Hook: hook(unix.NF_INET_POST_ROUTING, afterAll), Rules: answers},
	}
}

func hook(number uint32, priority int32) *nft.Hook {
	return &nft.Hook{Type: "filter", Number: number, Priority: priority}
}
