package nftables

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// groupChain is the chain of a group: it marks what is to be masqueraded and hands
// on, or refuses.
func (l *layout) groupChain(g group) chain {
	c := chain{name: g.chainName()}
	if g.forwards() {
		for _, match := range l.from(g.classes(masquerades)) {
			c.rules = append(c.rules, rule(match, l.setMark()))
		}
		if g.affinity {
			c.rules = append(c.rules, l.loadOwner(g.node))
		}
		paths := g.paths()
		for _, p := range paths[1:] { // to the backends of this node; all others follow
			for _, match := range l.from(g.classes(to(p.set))) {
				c.rules = append(c.rules, rule(match, goTo(g.next(p))))
			}
		}
		c.rules = append(c.rules, goTo(g.next(paths[0])))
		return c
	}
	for _, action := range []vip.Action{vip.Reject, vip.Drop} {
		for _, match := range l.from(g.classes(acts(action))) {
			c.rules = append(c.rules, l.refuse(match, action)...)
		}
	}
	return c
}

// next is the chain that leads to the backends of a path.
func (g group) next(p path) string {
	if g.affinity {
		return path{set: p.set}.name("affinity")
	}
	return p.name("forward")
}

// rounds is how often a slot is drawn. A draw misses with less than one half, so
// all of them miss once in 256 connections or less often.
const rounds = 8

// forwardChains send a packet to a backend of its frontend, of which is known only
// that it is in some class. A draw asks each class for a slot below its size. In
// the right one that is a backend, evenly, or a miss, and then the next draw
// follows. At the end a slot below half the size is drawn, which is always taken.
func (l *layout) forwardChains(m made, p path) []chain {
	forward := chain{name: p.name("forward")}
	var more []chain
	for _, t := range transports {
		classes := m.classesOf(p, t.number)
		if len(classes) == 0 {
			continue
		}
		all := chain{name: p.name("forward-" + t.name)}
		draw := chain{name: p.name("draw-" + t.name)}
		settle := chain{name: p.name("settle-" + t.name)}
		forward.rules = append(forward.rules,
			rule(say("meta l4proto "+t.name, isProtocol(t.number)...), goTo(all.name)))
		all.rules = append(all.rules, jump(draw.name))
		for _, c := range classes {
			draw.rules = append(draw.rules, l.drawFrom(c, c.size))
			if c.size > 2 {
				settle.rules = append(settle.rules, l.drawFrom(c, c.size/2))
			}
		}
		more = append(more, all, draw)
		if len(settle.rules) > 0 {
			for range rounds - 1 {
				all.rules = append(all.rules, jump(draw.name))
			}
			all.rules = append(all.rules, goTo(settle.name))
			more[len(more)-2] = all
			more = append(more, settle)
		}
	}
	if len(more) == 0 && !m.leads(p) {
		return nil
	}
	return append([]chain{forward}, more...)
}

// drawFrom sends a packet to the backend in a slot drawn below limit, if the class has one.
func (l *layout) drawFrom(c class, limit uint32) phrase {
	s := l.classSet(c)
	fields := append(s.key[:len(s.key)-1:len(s.key)-1], draw(limit))
	slot := concat(fields...)
	lookup := &expr.Lookup{
		SourceRegister: unix.NFT_REG_1, SetName: s.name, IsDestRegSet: true, DestRegister: unix.NFT_REG_1,
	}
	return rule(
		phrase{exprs: isProtocol(c.protocol)}, // nft leaves it out: the port's name says it
		say("dnat "+l.family.name+" to "+slot.text+" map @"+s.name, append(slot.exprs, lookup, l.translate())...),
	)
}

// translate sends a packet to the address and port in the first registers.
func (l *layout) translate() expr.Any {
	port := register(l.addr.padded() / 4)
	return &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(l.number), Specified: true,
		RegAddrMin: unix.NFT_REG_1, RegAddrMax: unix.NFT_REG_1, RegProtoMin: port, RegProtoMax: port,
	}
}

// restrict leads the frontends that have source ranges through these first.
func (l *layout) restrict(m made, node bool) []phrase {
	r := ranges{node, restricted}
	if !m.ranges[r] {
		return nil
	}
	s := l.rangesSet(r)
	return []phrase{rule(concat(s.key...), s.contains(true), jump(path{node: node}.name("sources")))}
}

// sourceChains drop what comes from none of the networks that its frontend takes
// packets from: each rule looks at the networks of one length.
func (l *layout) sourceChains(m made, node bool) []chain {
	if !m.ranges[ranges{node, restricted}] {
		return nil
	}
	c := chain{name: path{node: node}.name("sources")}
	for _, r := range m.rangesOf(node) {
		if r.bits != restricted {
			s := l.rangesSet(r)
			c.rules = append(c.rules, rule(concat(s.key...), s.contains(true), say("return", &expr.Verdict{Kind: expr.VerdictReturn})))
		}
	}
	c.rules = append(c.rules, drops)
	return []chain{c}
}

// restChain is for what nothing translated: it refuses the ports that a ClusterIP does
// not have, and drops what is sent to ClusterIPs that no Service has. What is sent to an
// address of this node is left to whoever serves it there.
func (l *layout) restChain(m made) chain {
	c := chain{name: "rest"}
	if m.remembers() {
		c.rules = append(c.rules, clearNumber)
	}
	c.rules = append(c.rules, rule(isTranslated, say("return", &expr.Verdict{Kind: expr.VerdictReturn})))
	elsewhere := fibType("daddr", false)
	at := rule(concat(l.destination()), l.clusterIPs.contains(true), elsewhere)
	c.rules = append(c.rules, l.refuse(at, vip.Reject)...)
	c.rules = append(c.rules, rule(concat(l.destination()), l.serviceCIDRs.contains(true), elsewhere, drops))
	return c
}
