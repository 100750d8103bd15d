package nftables

import (
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

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

// numberText is a priority in nft's words: as a traffic class.
func numberText(n uint32) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

// affinityChains send a packet whose priority is the number of its Owner to the
// backend that its client had, or to another.
func (l *layout) affinityChains(m made, s vip.Set) []chain {
	if !m.sticky(s) {
		return nil
	}
	name := path{set: s}.name
	drawing, half := chain{name: name("affinity-draw")}, chain{name: name("affinity-settle")}
	for _, c := range m.classesWith(func(c class) bool { return c.affinity && c.set == s }) {
		drawing.rules = append(drawing.rules, l.drawNumber(c, c.size))
		if c.size > 2 {
			half.rules = append(half.rules, l.drawNumber(c, c.size/2))
		}
	}
	send := chain{name: name("affinity-send")}
	for _, t := range transports {
		send.rules = append(send.rules, l.sendTo(s, t))
	}
	fresh := chain{name: name("affinity-fresh"), rules: []phrase{forgetBackend}}
	for range rounds {
		fresh.rules = append(fresh.rules, jump(drawing.name))
	}
	fresh.rules = append(fresh.rules, jump(half.name), l.begin(), jump(send.name),
		// Only if the client's place has a backend of the other set at this moment.
		forgetBackend, jump(drawing.name), jump(half.name), jump(send.name), noNumber)
	known := chain{name: name("affinity-known"), rules: []phrase{jump(send.name)}} // which returns only if the backend is gone
	known.rules = append(append(known.rules, l.forget()...), goTo(fresh.name))
	return []chain{
		{name: name("affinity"), rules: []phrase{jump("affinity-recall"), rule(isBackend, goTo(known.name)), goTo(fresh.name)}},
		known, fresh, drawing, half, send,
	}
}

// setNumber keeps what the first register has as the packet's number.
var setNumber = &expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: unix.NFT_REG_1}

// load sets a packet's number to what a map has for it, and fails if that has nothing.
func load(fields []field, from *set) phrase {
	k := concat(fields...)
	lookup := &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: from.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_1}
	return say("meta priority set "+k.text+" map @"+from.name, append(k.exprs, lookup, setNumber)...)
}

// loadOwner sets the number to that of the Owner of a frontend.
func (l *layout) loadOwner(node bool) phrase { return load(l.owners[node].key, l.owners[node]) }

// drawNumber sets the number from the Owner's to that of the backend in a slot drawn
// below limit. Once it is a backend's, another draw finds nothing.
func (l *layout) drawNumber(c class, limit uint32) phrase {
	return load([]field{priority(), draw(limit)}, l.classSet(c))
}

// forgetBackend sets the number to that of the Owner alone.
var forgetBackend = say("meta priority set meta priority & "+numberText(ownerMark|ownerMask)+" | "+numberText(ownerMark),
	&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_1}, bitwise(ownerMask, ownerMark), setNumber)

// sendTo sends a packet to the backend of its number, if there is one.
func (l *layout) sendTo(s vip.Set, t transport) phrase {
	from := l.backends[s]
	k := concat(from.key...)
	lookup := &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: from.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_1}
	return rule(
		say("meta l4proto "+t.name, isProtocol(t.number)...),
		say("dnat "+l.family.name+" to "+k.text+" map @"+from.name, append(k.exprs, lookup, l.translate())...))
}

// numbered matches packets whose number has such bits.
func numbered(mask, bits uint32) phrase {
	return say("meta priority & "+numberText(mask)+" == "+numberText(bits),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_1}, bitwise(mask, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(bits)})
}

var (
	isBackend = numbered(markMask, backendMark)
	isOwner   = numbered(markMask, ownerMark)
	noNumber  = say("meta priority set none", &expr.Immediate{Register: unix.NFT_REG_1, Data: native(0)}, setNumber)
	// clearNumber takes the number of a backend off again.
	clearNumber = rule(isBackend, noNumber)
)

// timeoutText is so many seconds in nft's words: 3h, 1m30s.
func timeoutText(seconds uint32) string {
	text := ""
	for _, unit := range []struct {
		seconds uint32
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := seconds / unit.seconds; n > 0 {
			text += utoa(n) + unit.name
		}
		seconds %= unit.seconds
	}
	return text
}

// update writes the packet's number into a map, or makes its time begin again. It fails where there is no
// more room.
func (l *layout) update(verb string, operation uint32, into *set, seconds uint32) phrase {
	k := concat(ownerOnly(), l.place(into, dynsetScratch))
	return say(fmt.Sprintf("%s @%s { %s timeout %s : meta priority }", verb, into.name, k.text, timeoutText(seconds)),
		append(k.exprs, &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_2}, &expr.Dynset{
			SrcRegKey: unix.NFT_REG_1, SrcRegData: unix.NFT_REG_2,
			SetName: into.name, Operation: operation, Timeout: time.Duration(seconds) * time.Second,
		})...)
}

// remove deletes the client's place from a map.
func (l *layout) remove(from *set) phrase {
	k := concat(ownerOnly(), l.place(from, dynsetScratch))
	return say(fmt.Sprintf("delete @%s { %s : none }", from.name, k.text),
		append(k.exprs, &expr.Immediate{Register: unix.NFT_REG_2, Data: native(0)}, &expr.Dynset{
			SrcRegKey: unix.NFT_REG_1, SrcRegData: unix.NFT_REG_2, SetName: from.name, Operation: dynsetDelete,
		})...)
}

// recall sets the number to that of the backend that a map has for the client.
func (l *layout) recall(from *set) phrase {
	return load([]field{ownerOnly(), l.place(from, mapScratch)}, from)
}

// dynsetDelete is NFT_DYNSET_OP_DELETE.
const dynsetDelete = 2

// Registers that nft takes for the address of a hash. The same rules read from text are
// then equal to the bit.
const (
	dynsetScratch = unix.NFT_REG_2
	mapScratch    = unix.NFT_REG32_06
)
