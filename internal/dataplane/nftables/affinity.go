package nftables

import (
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Session affinity is one map of the table, from Owner and client to the backend that
// the client got last, which packets write:
//
//	map affinity { owner . client : backend }
//	map affinity-ports { frontend : owner }
//	map affinity-slots-8 { owner . slot : backend }
//	map affinity-backends { backend : pod . port }
//
// Owners and backends are numbers in there. A backend's number is its Owner's and a
// few bits more, is given to no other while it is remembered, and goes from
// affinity-backends with the backend: what a client is remembered to have had leads
// nowhere from then on, and the client gets another one. Nobody looks for the clients
// of a backend that goes.
//
// The language of rules has no variables, so a packet carries the number in its
// priority (skb->priority) from one rule to the next. Only the first packet of a connection
// passes these rules, and only if its frontend has affinity; afterwards its priority
// is 0, which says: no particular class of traffic.

// A number: 01 in the first two bits, by which it is known, then the Owner, then the backend.
const (
	numberMask = 0xc0000000
	numberMark = 0x40000000

	ownerShift  = 14
	maxOwners   = 1 << 16
	maxSticky   = 1<<ownerShift - 1 // backends of an Owner; 0 is none
	ownerMask   = ^uint32(maxSticky)
	backendMask = uint32(maxSticky)
)

// maxClients is how many clients a table remembers. The kernel would stop at 65,535
// if nothing was said. A client takes about 100 bytes.
const maxClients = 1 << 20

// numberOf is the number of a backend of an Owner, or with 0 of the Owner.
func numberOf(owner, backend uint16) uint32 {
	return numberMark | uint32(owner)<<ownerShift | uint32(backend)
}

// splitNumber is the reverse of numberOf.
func splitNumber(n uint32) (owner, backend uint16, ok bool) {
	return uint16(n >> ownerShift), uint16(n & backendMask), n&numberMask == numberMark
}

// numberText is a priority in nft's words: as a traffic class.
func numberText(n uint32) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

func affinityChain(s vip.Set, seconds uint32) string {
	return path{set: s}.name("affinity-" + utoa(seconds))
}

// affinityChains send a packet whose priority is the number of its Owner to the
// backend that its client had, or to another, and remember that.
func (l *layout) affinityChains(m made, s vip.Set) []chain {
	timeouts := m.timeouts(s)
	if timeouts == nil {
		return nil
	}
	name := path{set: s}.name
	drawing, settling := chain{name: name("affinity-draw")}, chain{name: name("affinity-settle")}
	for _, c := range m.classesWith(func(c class) bool { return c.affinity && c.set == s }) {
		drawing.rules = append(drawing.rules, l.drawNumber(c, c.size))
		if c.size > 2 {
			settling.rules = append(settling.rules, l.drawNumber(c, c.size/2))
		}
	}
	send := chain{name: name("affinity-send")}
	for _, t := range transports {
		send.rules = append(send.rules, l.sendTo(s, t))
	}
	all := []chain{drawing, settling, send}
	for _, seconds := range timeouts {
		first := affinityChain(s, seconds)
		fresh := chain{name: first + "-new"}
		for range rounds {
			fresh.rules = append(fresh.rules, jump(drawing.name))
		}
		fresh.rules = append(fresh.rules, jump(settling.name), l.remember(seconds), goTo(send.name))
		all = append(all,
			chain{name: first, rules: []phrase{rule(l.recall(), goTo(first+"-known")), goTo(fresh.name)}},
			chain{name: first + "-known", rules: []phrase{
				l.remember(seconds), jump(send.name), // which returns only if the backend is gone
				forgetBackend, l.forget(), goTo(fresh.name),
			}},
			fresh)
	}
	return all
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

// recall sets the number from the Owner's to that of the client's backend.
func (l *layout) recall() phrase { return load(l.clients.key, l.clients) }

// drawNumber sets the number from the Owner's to that of the backend in a slot drawn
// below limit. Once it is a backend's, another draw finds nothing.
func (l *layout) drawNumber(c class, limit uint32) phrase {
	return load([]field{priority(), draw(limit)}, l.classSet(c))
}

// remember writes down which backend the client has, or that it still has it. It
// fails where there is no more room.
func (l *layout) remember(seconds uint32) phrase {
	k := concat(ownerNumber(), l.source())
	timeout := time.Duration(seconds) * time.Second
	return say(fmt.Sprintf("update @%s { %s timeout %s : meta priority }", l.clients.name, k.text, timeoutText(seconds)),
		append(k.exprs, &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: l.valueRegister()}, &expr.Dynset{
			SrcRegKey: unix.NFT_REG_1, SrcRegData: l.valueRegister(),
			SetName: l.clients.name, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: timeout,
		})...)
}

// forget deletes what is known of the client of an Owner.
func (l *layout) forget() phrase {
	k := concat(l.clients.key...)
	return say(fmt.Sprintf("delete @%s { %s : none }", l.clients.name, k.text),
		append(k.exprs, &expr.Immediate{Register: l.valueRegister(), Data: native(0)}, &expr.Dynset{
			SrcRegKey: unix.NFT_REG_1, SrcRegData: l.valueRegister(), SetName: l.clients.name, Operation: dynsetDelete,
		})...)
}

// dynsetDelete is NFT_DYNSET_OP_DELETE.
const dynsetDelete = 2

// valueRegister is the first that a key of an Owner and a client leaves free. For IPv6
// nft 1.0.6 takes one that the key needs too, when it loads these rules from text:
// then they remember nobody until Sync builds them anew.
func (l *layout) valueRegister() uint32 {
	if l.family == ip4 {
		return unix.NFT_REG_2
	}
	return unix.NFT_REG_3
}

// forgetBackend sets the number from a backend's to its Owner's.
var forgetBackend = say("meta priority set meta priority & "+numberText(ownerMask),
	&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_1}, bitwise(ownerMask, 0), setNumber)

// sendTo sends a packet to the backend of its number, if there is one.
func (l *layout) sendTo(s vip.Set, t transport) phrase {
	from := l.backends[s]
	k := concat(from.key...)
	lookup := &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: from.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_1}
	return rule(
		say("meta l4proto "+t.name, isProtocol(t.number)...),
		say("dnat "+l.family.name+" to "+k.text+" map @"+from.name, append(k.exprs, lookup, l.translate())...))
}

// clearNumber takes a number off again.
var clearNumber = rule(
	say("meta priority & "+numberText(numberMask)+" == "+numberText(numberMark),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG_1}, bitwise(numberMask, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native(numberMark)}),
	say("meta priority set none", &expr.Immediate{Register: unix.NFT_REG_1, Data: native(0)}, setNumber))

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
