package nftables

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/nft"
)

// groupChain is the chain of a group: it marks what is to be masqueraded and hands
// on, or refuses.
func (l *layout) groupChain(g group) nft.Chain {
	c, does := nft.Chain{Name: g.chainName()}, treatments[g.treatment]
	if g.forwards() {
		for _, match := range l.from(does.masquerade) {
			c.Rules = append(c.Rules, nft.Rule(match, nft.SetMarkBits(l.host.MasqueradeMark)))
		}
		if g.affinity {
			c.Rules = append(c.Rules, l.loadOwner(g.node))
		}
		paths := g.paths()
		for _, p := range paths[1:] { // to the backends of this node; all others follow
			for _, match := range l.from(does.local) {
				c.Rules = append(c.Rules, nft.Rule(match, nft.Goto(g.next(p))))
			}
		}
		c.Rules = append(c.Rules, nft.Goto(g.next(paths[0])))
		return c
	}
	for _, match := range l.from(does.reject) {
		c.Rules = append(c.Rules, l.refuse(match)...)
	}
	for _, match := range l.from(does.drop) {
		c.Rules = append(c.Rules, nft.Rule(match, nft.Drop))
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
func (l *layout) forwardChains(m made, p path) []nft.Chain {
	forward := nft.Chain{Name: p.name("forward")}
	var more []nft.Chain
	for _, t := range nft.Transports {
		classes := m.classesOf(p, t.Number)
		if len(classes) == 0 {
			continue
		}
		all := nft.Chain{Name: p.name("forward-" + t.Name)}
		draw := nft.Chain{Name: p.name("draw-" + t.Name)}
		settle := nft.Chain{Name: p.name("settle-" + t.Name)}
		forward.Rules = append(forward.Rules,
			nft.Rule(t.Is(true), nft.Goto(all.Name)))
		all.Rules = append(all.Rules, nft.Jump(draw.Name))
		for _, c := range classes {
			draw.Rules = append(draw.Rules, l.drawFrom(c, c.size))
			if c.size > 2 {
				settle.Rules = append(settle.Rules, l.drawFrom(c, c.size/2))
			}
		}
		more = append(more, all, draw)
		if len(settle.Rules) > 0 {
			for range rounds - 1 {
				all.Rules = append(all.Rules, nft.Jump(draw.Name))
			}
			all.Rules = append(all.Rules, nft.Goto(settle.Name))
			more[len(more)-2] = all
			more = append(more, settle)
		}
	}
	if len(more) == 0 && !m.leads(p) {
		return nil
	}
	return append([]nft.Chain{forward}, more...)
}

// drawFrom sends a packet to the backend in a slot drawn below limit, if the class has one. nft leaves the protocol
// out: the port's name implies it.
func (l *layout) drawFrom(c class, limit uint32) nft.Statement {
	s := l.classSet(c)
	fields := append(s.Key[:len(s.Key)-1:len(s.Key)-1], nft.Random(limit))
	return nft.Rule(nft.TransportOf(c.protocol).Is(true).Silent(), l.translate(nft.Map(s.Name, fields...)))
}

// translate sends a packet to the address and port that a statement loads.
func (l *layout) translate(to nft.Statement) nft.Statement {
	port := nft.Register(l.Addr.Padded() / 4)
	return nft.Say("dnat "+l.Name+" to "+to.Text, append(to.Exprs, &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(l.Number), Specified: true,
		RegAddrMin: unix.NFT_REG_1, RegAddrMax: unix.NFT_REG_1, RegProtoMin: port, RegProtoMax: port,
	})...)
}

// restrict leads the frontends that have source ranges through these first.
func (l *layout) restrict(m made, node bool) []nft.Statement {
	r := ranges{node, restricted}
	if !m.ranges[r] {
		return nil
	}
	s := l.rangesSet(r)
	return []nft.Statement{nft.Rule(nft.Concat(s.Key...), s.contains(), nft.Jump(path{node: node}.name("sources")))}
}

// sourceChains drop what comes from none of the networks that its frontend takes
// packets from: each rule looks at the networks of one length.
func (l *layout) sourceChains(m made, node bool) []nft.Chain {
	if !m.ranges[ranges{node, restricted}] {
		return nil
	}
	c := nft.Chain{Name: path{node: node}.name("sources")}
	for _, r := range m.rangesOf(node) {
		if r.bits != restricted {
			s := l.rangesSet(r)
			c.Rules = append(c.Rules, nft.Rule(nft.Concat(s.Key...), s.contains(), nft.Return))
		}
	}
	c.Rules = append(c.Rules, nft.Drop)
	return []nft.Chain{c}
}

// restChain is for what nothing translated: it refuses the ports that a ClusterIP does
// not have, and drops what is sent to ClusterIPs that no Service has. What is sent to an
// address of this node is left to whoever serves it there.
func (l *layout) restChain(m made) nft.Chain {
	c := nft.Chain{Name: "rest"}
	if m.remembers() {
		c.Rules = append(c.Rules, clearNumber)
	}
	c.Rules = append(c.Rules, nft.Rule(nft.IsTranslated, nft.Return))
	elsewhere := nft.ToThisNode(false)
	at := nft.Rule(nft.Concat(l.Destination()), l.clusterIPs.contains(), elsewhere)
	c.Rules = append(c.Rules, l.refuse(at)...)
	c.Rules = append(c.Rules, nft.Rule(nft.Concat(l.Destination()), l.serviceCIDRs.contains(), elsewhere, nft.Drop))
	return c
}
