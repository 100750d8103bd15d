package nftables

import (
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// The first packet of a connection reads what is remembered of its client (affinity-recall), and makes the
// time of that begin again. A client that is not remembered is written down after the translation
// (affinity-prove), by a packet that proves that the client has the address that it uses.

// memoryChains are those that all frontends with affinity share.
func (l *layout) memoryChains(m made) []chain {
	if !m.remembers() {
		return nil
	}
	recall, remember := chain{name: "affinity-recall"}, chain{name: "affinity-remember"}
	for _, t := range []bool{true, false} {
		remember.rules = append(remember.rules, rule(isTCP(t), l.recall(l.memory(t))))
	}
	var more []chain
	for _, seconds := range m.timeoutsInOrder() {
		first, proven := chain{name: timeoutChain(seconds)}, chain{name: "affinity-remember-" + utoa(seconds)}
		step := numbered(markMask|lowMask, ownerNumber(0, stepFor(seconds)))
		recall.rules = append(recall.rules, rule(step, goTo(first.name)))
		remember.rules = append(remember.rules, rule(step, goTo(proven.name)))
		for _, t := range []bool{true, false} {
			again := l.update("update", unix.NFT_DYNSET_OP_UPDATE, l.memory(t), seconds)
			first.rules = append(first.rules, rule(isTCP(t), l.recall(l.memory(t)), again))
			proven.rules = append(proven.rules, rule(isTCP(t), l.recall(l.begun), again))
		}
		first.rules = append(first.rules, rule(isOwner, l.recall(l.begun)))
		if seconds < begunSeconds { // or the client stays longer than it should
			proven.rules = append(proven.rules, rule(isBackend, l.remove(l.begun)))
		}
		proven.rules = append(proven.rules, noNumber)
		more = append(more, first, proven)
	}
	remember.rules = append(remember.rules, noNumber)
	return append([]chain{l.proveChain(m), recall, remember}, more...)
}

// proveChain finds the Owner by what the client dialed before the translation.
func (l *layout) proveChain(m made) chain {
	c := chain{name: "affinity-prove"}
	for _, node := range []bool{false, true} {
		if !m.stickyFrontends(node) {
			continue
		}
		for _, t := range transports {
			fields := []field{l.originalDestination(), protocol(), originalPort()}
			if node {
				fields = fields[1:]
			}
			c.rules = append(c.rules, rule(say("meta l4proto "+t.name, isProtocol(t.number)...),
				load(fields, l.owners[node]), goTo("affinity-remember")))
		}
	}
	return c
}

// proofs lead the packets that prove a client to where it is remembered: of TCP the one that ends a handshake,
// unless this node itself sends it; of the other protocols the first of a connection.
func (l *layout) proofs(m made, output bool) []phrase {
	if !m.remembers() {
		return nil
	}
	prove := jump("affinity-prove")
	if output {
		return []phrase{rule(isNew, isTranslated, prove)}
	}
	return []phrase{
		rule(isNew, isTranslated, isTCP(false), prove),
		rule(isTranslated, isOriginal, isEstablished, acknowledges, prove),
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
func (l *layout) begin() phrase {
	return rule(isBackend, l.update("add", unix.NFT_DYNSET_OP_ADD, l.begun, begunSeconds), l.recall(l.begun))
}

// forget deletes what is remembered of a client.
func (l *layout) forget() []phrase {
	return []phrase{
		rule(isTCP(true), l.remove(l.proven)),
		rule(isTCP(false), l.remove(l.other)),
		l.remove(l.begun),
	}
}

// place is the place of a client in a map: a hash of its address, which is in a register meanwhile.
func (l *layout) place(s *set, scratch uint32) field {
	from := l.source()
	text := from.text + " mod " + utoa(s.places) + " seed 0x" + strconv.FormatUint(placeSeed, 16)
	return field{slotPart, integerType, "jhash " + text, func(register uint32) []expr.Any {
		return append(from.load(scratch), &expr.Hash{
			SourceRegister: scratch, DestRegister: register, Length: uint32(l.addr.size),
			Modulus: s.places, Seed: placeSeed, Type: expr.HashTypeJenkins,
		})
	}, nil}
}

func isTCP(yes bool) phrase {
	return say("meta l4proto"+not(yes)+" tcp", &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: cmpOp(yes), Register: unix.NFT_REG_1, Data: []byte{unix.IPPROTO_TCP}})
}

var (
	isEstablished = say("ct state established", ctBit(expr.CtKeySTATE, expr.CtStateBitESTABLISHED)...)
	isOriginal    = say("ct direction original", &expr.Ct{Key: expr.CtKeyDIRECTION, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{0}})
	// acknowledges matches a segment that a client can send only if it has read the server's answer. A SYN may
	// come twice, and a RST is what the owner of an invented address answers. A segment that acknowledges
	// something else is not of the state established, except if one of 65,000 guesses is right.
	acknowledges = say("tcp flags ack / syn,rst,ack", append(isProtocol(unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 1, Mask: []byte{0x16}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{0x10}})...)
)

func timeoutChain(seconds uint32) string { return "affinity-" + utoa(seconds) }

// parseTimeout finds a timeout by the name of its chain.
func parseTimeout(name string) (seconds uint32, ok bool) {
	text, ok := strings.CutPrefix(name, "affinity-")
	n, err := strconv.ParseUint(text, 10, 32)
	seconds = uint32(n)
	return seconds, ok && err == nil && timeoutChain(seconds) == name && seconds > 0 && roundedUp(seconds) == seconds
}

// original is an address or port of the first packet of a connection, before translation. The
// library does not say of which direction an address is, so it is written and compared here.
type original struct{ expr.Ct }

// Numbers of NFTA_CT_KEY: the destination address by family, which nft needs to list it.
const (
	ctDestination4 expr.CtKey = 20 // NFT_CT_DST_IP
	ctDestination6 expr.CtKey = 22 // NFT_CT_DST_IP6
)

func (l *layout) originalDestination() field {
	key := ctDestination4
	if l.family == ip6 {
		key = ctDestination6
	}
	return field{addrPart, l.addr, "ct original " + l.family.name + " daddr", func(register uint32) []expr.Any {
		return []expr.Any{&original{expr.Ct{Key: key, Register: register}}}
	}, nil}
}

func originalPort() field {
	return field{portPart, portType, "ct original proto-dst", func(register uint32) []expr.Any {
		return []expr.Any{&original{expr.Ct{Key: expr.CtKeyPROTODST, Register: register}}}
	}, nil}
}

func (o *original) encode() buffer {
	var b buffer
	b.string(unix.NFTA_EXPR_NAME, "ct")
	at := b.nest(unix.NFTA_EXPR_DATA)
	b.uint32(unix.NFTA_CT_KEY, uint32(o.Key))
	b.uint32(unix.NFTA_CT_DREG, o.Register)
	b.attr(unix.NFTA_CT_DIRECTION, 0)
	b.end(at)
	return b
}

// is compares with what the kernel lists.
func (o *original) is(data []byte) bool {
	direction := attrOf(data, unix.NFTA_CT_DIRECTION)
	return number(attrOf(data, unix.NFTA_CT_KEY)) == uint64(o.Key) && number(attrOf(data, unix.NFTA_CT_DREG)) == uint64(o.Register) &&
		len(direction) == 1 && direction[0] == 0
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
