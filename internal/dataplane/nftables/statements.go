package nftables

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/nft"
)

// Parts of rules that several chains have.

// from matches packets of some source classes: one statement each, of which at
// least one matches. A packet may match two of them.
func (l *layout) from(who clients) []nft.Statement {
	pod, node := l.fromPod, nft.FromThisNode // the pods of this node have no address of this node
	switch who {
	case noClients:
		return nil
	case nodeClients:
		return []nft.Statement{nft.Rule(pod(false), node(true))}
	case outsideClients:
		return []nft.Statement{nft.Rule(pod(false), node(false))}
	case podOutsideClients:
		return []nft.Statement{pod(true), node(false)}
	case nodeOutsideClients:
		return []nft.Statement{pod(false)}
	}
	return []nft.Statement{{}}
}

// fromPod matches packets from pods, or from anything else, as the configuration tells them apart.
func (l *layout) fromPod(yes bool) nft.Statement {
	switch pods := l.host.Pods; {
	case pods.Interface != "":
		return nft.FromInterface(pods.Interface, false, yes)
	case pods.Prefix != "":
		return nft.FromInterface(pods.Prefix, true, yes)
	}
	return nft.Rule(nft.Concat(l.Source()), nft.In(l.podCIDRs.Name, yes))
}

// toNode matches packets to an address that serves NodePorts.
func (l *layout) toNode() nft.Statement {
	all := l.host.NodePortAll6
	if l.Family == nft.IPv4 {
		all = l.host.NodePortAll4
	}
	if !all {
		return nft.Rule(nft.Concat(l.Destination()), nft.In(l.nodeAddrs.Name, true))
	}
	return nft.Rule(nft.ToThisNode(true), l.notLoopback())
}

// notLoopback matches what is not sent to a loopback address: nft compares whole bytes of networks.
func (l *layout) notLoopback() nft.Statement {
	network, address := "127.0.0.0/8", []byte{127}
	if l.Family == nft.IPv6 {
		loopback := netip.IPv6Loopback()
		network, address = loopback.String(), loopback.AsSlice()
	}
	return nft.Say(l.Destination().Text+" != "+network,
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: l.DestinationOffset, Len: uint32(len(address))},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: address})
}

// refuse answers what matches. nft leaves the protocol out of the rule for TCP: the reset implies it.
func (l *layout) refuse(match nft.Statement) []nft.Statement {
	return l.Refuse(nft.TCP.Is(true).Silent(), match)
}

// contains matches if the preceding concatenation is in the set.
func (s *set) contains() nft.Statement { return nft.In(s.Name, true) }

// masqueradeMarked masquerades what a group's chain asked for, and takes the mark
// off: a tunnel would carry it along to its own packets.
func (l *layout) masqueradeMarked() nft.Statement {
	mark := l.host.MasqueradeMark
	return nft.Rule(nft.MarkIs(mark, mark), nft.KeepMarkBits(^mark), nft.Masquerade)
}

// masqueradeHairpin masquerades what a pod sends to a frontend that leads back to
// it: it would not take an answer from its own address.
func (l *layout) masqueradeHairpin() nft.Statement {
	return nft.Rule(nft.IsTranslated, nft.Concat(l.Source(), l.Destination()), l.hairpin.contains(), nft.Masquerade)
}
