package nftables

import (
	"fmt"
	"strconv"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Session affinity is in three maps that packets write, and in four that do not change by packets:
//
//	map affinity { owner . place : backend }         of clients by TCP that have finished a handshake
//	map affinity-begun { owner . place : backend }   of clients whose first connection has just begun
//	map affinity-other { owner . place : backend }   of clients by UDP and SCTP
//	map affinity-ports { frontend : owner, timeout }, node-affinity-ports
//	map affinity-slots-8 { owner . slot : backend }
//	map affinity-backends { backend : pod . port }, local-affinity-backends
//
// A client has a place among those of an Owner: a hash of its address. So an Owner takes as many
// elements as it has places, whatever sends it packets. Clients with the same place
// have affinity to the same backend. A map has room for 16 Owners whose places are all taken. If more are, the
// kernel adds no element until one is over, and a client that is not in the map keeps its backend for
// seconds only.
//
// The address of a first packet proves nothing, because anyone can invent it. Therefore it
// writes affinity-begun, whose elements last for seconds and have few places: a client that begins several connections at
// the same time gets one backend for all of them. The packet that ends a TCP handshake writes affinity, for the
// timeout (see memory.go). UDP has no handshake, so its first packet writes affinity-other: invented
// addresses can fill that map, and the map of TCP clients is not concerned. New connections of a client make the time begin again.
//
// Owners and backends are numbers in there. A backend's number is its Owner's and a
// few bits more, is given to no other while it is remembered, and is deleted from
// affinity-backends with the backend: a client that had it then gets another one, and no update looks for
// the clients of a backend.
//
// The language of rules has no variables, so a packet carries the number in its
// priority (skb->priority) from one rule to the next. Only packets of frontends with affinity pass
// these rules; afterwards their priority is 0, which says: no particular class of traffic.

// A number: two bits that say what it is, then the Owner, then the backend or the place of the
// timeout on the ladder.
const (
	markMask    = 0xc0000000
	backendMark = 0x40000000
	ownerMark   = 0x80000000

	ownerShift = 14
	maxOwners  = 1 << 16
	maxSticky  = 1<<ownerShift - 1 // backends of an Owner; 0 is none
	ownerMask  = ^uint32(markMask | maxSticky)
	lowMask    = uint32(maxSticky)
)

const (
	// places is how many an Owner has, in the maps that last for the timeout.
	places = 1 << 16
	// begunPlaces is how many it has in the map that lasts for seconds.
	begunPlaces = 1 << 10
	// begunSeconds is how long a client may take for a handshake.
	begunSeconds = 8
	// maxClients is how many elements a map takes, of all Owners. An element takes about 64 bytes.
	maxClients = 1 << 20
	// maxBegun is the same for the map that lasts for seconds.
	maxBegun = 1 << 18
	// placeSeed makes places another hash than those that the kernel uses.
	placeSeed = 0x5
)

// ownerNumber is the number of an Owner, with the place of a timeout on the ladder.
func ownerNumber(owner, step uint16) uint32 {
	return ownerMark | uint32(owner)<<ownerShift | uint32(step)
}

// backendNumber is the number of a backend of an Owner.
func backendNumber(owner, backend uint16) uint32 {
	return backendMark | uint32(owner)<<ownerShift | uint32(backend)
}

// splitNumber is the reverse of ownerNumber and backendNumber.
func splitNumber(n uint32) (owner, low uint16, ok bool) {
	mark := n & markMask
	return uint16(n & ownerMask >> ownerShift), uint16(n & lowMask), mark == ownerMark || mark == backendMark
}

// affinityChains send a packet whose priority is the number of its Owner to the
// backend that its client had, or to another.
func (l *layout) affinityChains(m made, s vip.Set) []nft.Chain {
	if !m.sticky(s) {
		return nil
	}
	name := path{set: s}.name
	drawing, half := nft.Chain{Name: name("affinity-draw")}, nft.Chain{Name: name("affinity-settle")}
	for _, c := range m.classesWith(func(c class) bool { return c.affinity && c.set == s }) {
		drawing.Rules = append(drawing.Rules, l.drawNumber(c, c.size))
		if c.size > 2 {
			half.Rules = append(half.Rules, l.drawNumber(c, c.size/2))
		}
	}
	send := nft.Chain{Name: name("affinity-send")}
	for _, t := range nft.Transports {
		send.Rules = append(send.Rules, l.sendTo(s, t))
	}
	fresh := nft.Chain{Name: name("affinity-fresh"), Rules: []nft.Statement{forgetBackend}}
	for range rounds {
		fresh.Rules = append(fresh.Rules, nft.Jump(drawing.Name))
	}
	fresh.Rules = append(fresh.Rules, nft.Jump(half.Name), l.begin(), nft.Jump(send.Name),
		// Only if the client's place has a backend of the other set at this moment.
		forgetBackend, nft.Jump(drawing.Name), nft.Jump(half.Name), nft.Jump(send.Name), noNumber)
	known := nft.Chain{Name: name("affinity-known"), Rules: []nft.Statement{nft.Jump(send.Name)}} // which returns only if the backend is gone
	known.Rules = append(append(known.Rules, l.forget()...), nft.Goto(fresh.Name))
	return []nft.Chain{
		{Name: name("affinity"), Rules: []nft.Statement{nft.Jump("affinity-recall"), nft.Rule(isBackend, nft.Goto(known.Name)), nft.Goto(fresh.Name)}},
		known, fresh, drawing, half, send,
	}
}

// load sets a packet's number to what a map has for it, and fails if that has nothing.
func load(fields []nft.Field, from *set) nft.Statement {
	return nft.SetPriority(nft.Map(from.Name, fields...))
}

// loadOwner sets the number to that of the Owner of a frontend.
func (l *layout) loadOwner(node bool) nft.Statement { return load(l.owners[node].Key, l.owners[node]) }

// drawNumber sets the number from the Owner's to that of the backend in a slot drawn
// below limit. Once it is a backend's, another draw finds nothing.
func (l *layout) drawNumber(c class, limit uint32) nft.Statement {
	return load([]nft.Field{nft.Priority(), nft.Random(limit)}, l.classSet(c))
}

// forgetBackend sets the number to that of the Owner alone.
var forgetBackend = nft.SetPriority(nft.Say("meta priority & "+nft.ClassidText(ownerMask|ownerMark)+" | "+nft.ClassidText(ownerMark),
	&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_1}, nft.Bits(ownerMask, ownerMark)))

// sendTo sends a packet to the backend of its number, if there is one.
func (l *layout) sendTo(s vip.Set, t nft.Transport) nft.Statement {
	from := l.backends[s]
	return nft.Rule(t.Is(true), l.translate(nft.Map(from.Name, from.Set.Key...)))
}

// numbered matches packets whose number has such bits.
func numbered(mask, bits uint32) nft.Statement {
	return nft.Say("meta priority & "+nft.ClassidText(mask)+" == "+nft.ClassidText(bits),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_1}, nft.Bits(mask, 0), nft.Compare(true, nft.Native(bits)))
}

var (
	isBackend = numbered(markMask, backendMark)
	isOwner   = numbered(markMask, ownerMark)
	noNumber  = nft.SetPriority(nft.Say("none", &expr.Immediate{Register: unix.NFT_REG_1, Data: nft.Native(0)}))
	// clearNumber removes the number of a backend.
	clearNumber = nft.Rule(isBackend, noNumber)
)

// timeoutText is so many seconds in nft's words: 3h, 1m30s.
func timeoutText(seconds uint32) string {
	text := ""
	for _, unit := range []struct {
		seconds uint32
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := seconds / unit.seconds; n > 0 {
			text += strconv.FormatUint(uint64(n), 10) + unit.name
		}
		seconds %= unit.seconds
	}
	return text
}

// ownerOnly is the Owner in a number.
func ownerOnly() nft.Field {
	return nft.Priority().And(nft.Native(ownerMask), nft.ClassidText(ownerMask))
}

// update writes the packet's number into a map, or makes its time begin again. It fails where there is no
// more room.
func (l *layout) update(verb string, operation uint32, into *set, seconds uint32) nft.Statement {
	k := nft.Concat(ownerOnly(), l.place(into, dynsetScratch))
	return nft.Say(fmt.Sprintf("%s @%s { %s timeout %s : meta priority }", verb, into.Name, k.Text, timeoutText(seconds)),
		append(k.Exprs, &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_2}, &expr.Dynset{
			SrcRegKey: unix.NFT_REG_1, SrcRegData: unix.NFT_REG_2,
			SetName: into.Name, Operation: operation, Timeout: time.Duration(seconds) * time.Second,
		})...)
}

// remove deletes the client's place from a map.
func (l *layout) remove(from *set) nft.Statement {
	k := nft.Concat(ownerOnly(), l.place(from, dynsetScratch))
	return nft.Say(fmt.Sprintf("delete @%s { %s : none }", from.Name, k.Text),
		append(k.Exprs, &expr.Immediate{Register: unix.NFT_REG_2, Data: nft.Native(0)}, &expr.Dynset{
			SrcRegKey: unix.NFT_REG_1, SrcRegData: unix.NFT_REG_2, SetName: from.Name, Operation: dynsetDelete,
		})...)
}

// recall sets the number to that of the backend that a map has for the client.
func (l *layout) recall(from *set) nft.Statement {
	return load([]nft.Field{ownerOnly(), l.place(from, mapScratch)}, from)
}

// dynsetDelete is NFT_DYNSET_OP_DELETE.
const dynsetDelete = 2

// Registers that nft takes for the address of a hash. The same rules read from text are
// then equal to the bit.
const (
	dynsetScratch = unix.NFT_REG_2
	mapScratch    = unix.NFT_REG32_06
)
