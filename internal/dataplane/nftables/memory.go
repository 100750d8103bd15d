package nftables

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// The first packet of a connection reads what is remembered of its client (affinity-recall), and makes the
// time of that begin again. A client that is not remembered is written down after the translation
// (affinity-prove), by a packet that proves that the client has the address that it uses.

// memoryChains are those that all frontends with affinity share.
func (l *layout) memoryChains(m made) []nft.Chain {
	if !m.remembers() {
		return nil
	}
	recall, remember := nft.Chain{Name: "affinity-recall"}, nft.Chain{Name: "affinity-remember"}
	for _, t := range []bool{true, false} {
		remember.Rules = append(remember.Rules, nft.Rule(isTCP(t), l.recall(l.memory(t))))
	}
	var more []nft.Chain
	for _, seconds := range m.timeoutsInOrder() {
		first, proven := nft.Chain{Name: timeoutChain(seconds)}, nft.Chain{Name: "affinity-remember-" + strconv.FormatUint(uint64(seconds), 10)}
		step := numbered(markMask|lowMask, ownerNumber(0, stepFor(seconds)))
		recall.Rules = append(recall.Rules, nft.Rule(step, nft.Goto(first.Name)))
		remember.Rules = append(remember.Rules, nft.Rule(step, nft.Goto(proven.Name)))
		for _, t := range []bool{true, false} {
			again := l.update("update", unix.NFT_DYNSET_OP_UPDATE, l.memory(t), seconds)
			first.Rules = append(first.Rules, nft.Rule(isTCP(t), l.recall(l.memory(t)), again))
			proven.Rules = append(proven.Rules, nft.Rule(isTCP(t), l.recall(l.begun), again))
		}
		first.Rules = append(first.Rules, nft.Rule(isOwner, l.recall(l.begun)))
		if seconds < begunSeconds { // or the client stays longer than it should
			proven.Rules = append(proven.Rules, nft.Rule(isBackend, l.remove(l.begun)))
		}
		proven.Rules = append(proven.Rules, noNumber)
		more = append(more, first, proven)
	}
	remember.Rules = append(remember.Rules, noNumber)
	return append([]nft.Chain{l.proveChain(m), recall, remember}, more...)
}

// proveChain finds the Owner by what the client dialed before the translation.
func (l *layout) proveChain(m made) nft.Chain {
	c := nft.Chain{Name: "affinity-prove"}
	for _, node := range []bool{false, true} {
		if !m.stickyFrontends(node) {
			continue
		}
		for _, t := range nft.Transports {
			fields := []nft.Field{l.OriginalDestination(), nft.Protocol(), nft.OriginalPort()}
			if node {
				fields = fields[1:]
			}
			c.Rules = append(c.Rules, nft.Rule(t.Is(true),
				load(fields, l.owners[node]), nft.Goto("affinity-remember")))
		}
	}
	return c
}

// proofs lead the packets that prove a client to where it is remembered: of TCP the one that ends a handshake,
// unless this node itself sends it; of the other protocols the first of a connection.
func (l *layout) proofs(m made, output bool) []nft.Statement {
	if !m.remembers() {
		return nil
	}
	prove := nft.Jump("affinity-prove")
	if output {
		return []nft.Statement{nft.Rule(nft.IsNew, nft.IsTranslated, prove)}
	}
	return []nft.Statement{
		nft.Rule(nft.IsNew, nft.IsTranslated, isTCP(false), prove),
		nft.Rule(nft.IsTranslated, nft.IsOriginal, nft.IsEstablished, acknowledges, prove),
	}
}

// memory is the map for TCP, or that for the other protocols.
func (l *layout) memory(tcp bool) *set {
	if tcp {
		return l.proven
	}
	return l.other
}

// begin notes a backend for a client's connections that begin at the same time, and
// takes the one that another of them has just noted.
func (l *layout) begin() nft.Statement {
	return nft.Rule(isBackend, l.update("add", unix.NFT_DYNSET_OP_ADD, l.begun, begunSeconds), l.recall(l.begun))
}

// forget deletes what is remembered of a client.
func (l *layout) forget() []nft.Statement {
	return []nft.Statement{
		nft.Rule(isTCP(true), l.remove(l.proven)),
		nft.Rule(isTCP(false), l.remove(l.other)),
		l.remove(l.begun),
	}
}

// place is the place of a client in a map: a hash of its address, which is in a register meanwhile.
func (l *layout) place(s *set, scratch uint32) nft.Field {
	from := l.Source()
	text := fmt.Sprintf("jhash %s mod %d seed 0x%x", from.Text, s.places, placeSeed)
	return nft.Field{Type: nft.TypeInteger, Text: text, Load: func(register uint32) []expr.Any {
		return append(from.Load(scratch), &expr.Hash{
			SourceRegister: scratch, DestRegister: register, Length: uint32(l.Addr.Size),
			Modulus: s.places, Seed: placeSeed, Type: expr.HashTypeJenkins,
		})
	}}
}

func isTCP(yes bool) nft.Statement { return nft.TCP.Is(yes) }

var (
	// acknowledges matches a segment that a client can send only if it has read the server's answer. A SYN may
	// come twice, and a RST is what the owner of an invented address answers. A segment that acknowledges
	// something else is not of the state established, except if one of 65,000 guesses is right.
	acknowledges = nft.Say("tcp flags ack / syn,rst,ack", append(isTCP(true).Exprs,
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 1, Mask: []byte{0x16}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{0x10}})...)
)

func timeoutChain(seconds uint32) string {
	return "affinity-" + strconv.FormatUint(uint64(seconds), 10)
}

// parseTimeout finds a timeout by the name of its chain.
func parseTimeout(name string) (seconds uint32, ok bool) {
	text, ok := strings.CutPrefix(name, "affinity-")
	n, err := strconv.ParseUint(text, 10, 32)
	seconds = uint32(n)
	return seconds, ok && err == nil && timeoutChain(seconds) == name && seconds > 0 && roundedUp(seconds) == seconds
}

// sticky reports whether a group with affinity leads to a set of backends.
func (m made) sticky(s vip.Set) bool {
	for g := range m.groups {
		if g.affinity && g.leadsTo(s) {
			return true
		}
	}
	return false
}

// stickyFrontends reports whether there is a group with affinity, of NodePorts or of others.
func (m made) stickyFrontends(node bool) bool {
	for g := range m.groups {
		if g.affinity && g.node == node {
			return true
		}
	}
	return false
}

// remembers reports whether there is any affinity.
func (m made) remembers() bool { return m.stickyFrontends(false) || m.stickyFrontends(true) }
