package ipvs

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// tableName is the name of the companion, in both families.
const tableName = "signpost-ipvs"

// What the companion does for a class of clients: the beginnings of names of sets.
const (
	rejects     = "reject"
	drops       = "drop"
	masquerades = "masquerade"
	marks       = "marks" // a map: by which firewall mark to choose the virtual server
)

var effects = []string{rejects, drops, masquerades, marks}

// The other sets.
const (
	setRestricted = "restricted" // frontends that take packets from some sources only
	setSources    = "sources"    // and which
	setVIPs       = "vips"       // the addresses on kube-ipvs0
	setHairpin    = "hairpin"    // pods of this node that may dial themselves
)

func setName(what string, c vip.Class) string { return what + "-" + c.String() }

// A set is a set of the companion, by what its keys consist of.
type set struct {
	name   string
	fields []field
	ranges bool // the last field is a network
	isMap  bool
}

// A field is a part of a key.
type field int

const (
	destination field = iota
	source
	protocol
	port
)

// layout is the companion without its elements.
type layout struct {
	host *dataplane.Host
	v4   bool
	ip   *nft.Family

	name string // of the seal, once it is made
}

func newLayout(h *dataplane.Host, v4 bool) *layout {
	l := &layout{host: h, v4: v4, ip: nft.IPv6}
	if v4 {
		l.ip = nft.IPv4
	}
	return l
}

func (l *layout) table() nft.Table { return nft.Table{Family: l.ip, Name: tableName} }

// nft returns a set in the form that the kernel has it.
func (s *set) nft(l *layout) *nft.Set {
	k := &nft.Set{Name: s.name, Key: l.fields(s.fields...), Interval: s.ranges}
	if s.isMap {
		k.Value = []nft.Field{nft.Mark()}
	}
	return k
}

// fields returns how the rules load parts of a key.
func (l *layout) fields(list ...field) []nft.Field {
	all := make([]nft.Field, len(list))
	for i, f := range list {
		all[i] = map[field]nft.Field{
			destination: l.ip.Destination(), source: l.ip.Source(), protocol: nft.Protocol(), port: nft.Port(),
		}[f]
	}
	return all
}

// key loads a key.
func (l *layout) key(list ...field) nft.Statement { return nft.Concat(l.fields(list...)...) }

// sets are all sets of the companion.
func sets() []set {
	var list []set
	frontend := []field{destination, protocol, port}
	for _, what := range effects {
		for c := range vip.Classes {
			list = append(list, set{name: setName(what, c), fields: frontend, isMap: what == marks})
		}
	}
	return append(list,
		set{name: setRestricted, fields: frontend},
		set{name: setSources, fields: append(frontend[:3:3], source), ranges: true},
		set{name: setVIPs, fields: []field{destination}},
		set{name: setHairpin, fields: []field{source, destination}},
	)
}

// Priorities, by those of IPVS: it takes packets in at 99 in the hook input and at -98 in output,
// where it lets them pass once more after it translated them.
const (
	beforeInput  = 10
	afterInput   = 110
	beforeOutput = -99
	afterOutput  = -90
	sourceNAT    = 100
)

// claimPriority is before that of destination NAT (-100): of the rules that translate a packet the
// first counts.
const claimPriority = -110

// The chains that claim the addresses of kube-ipvs0.
const claimPrerouting, claimOutput = "claim-prerouting", "claim-output"

// chains are all of them. Those that other chains lead to come first.
func (l *layout) chains() []nft.Chain {
	var list []nft.Chain
	for c := range vip.Classes {
		list = append(list, l.class(c))
	}
	list = append(list, l.decide())
	decide := []nft.Statement{nft.Rule(nft.IsNew, nft.Jump("decide"))}
	refused := l.refuse(nft.Rule(nft.IsNew, nft.IsUntranslated, l.key(destination), nft.In(setVIPs, true)))
	rest := append([]nft.Statement{l.unmark()}, refused...)
	forward, output := l.unusedAddrs(), l.unusedAddrs(l.notByIPVS())
	claim := []nft.Statement{l.claim()}
	return append(list,
		base(claimPrerouting, "nat", prerouting, claimPriority, claim),
		base(claimOutput, "nat", localOut, claimPriority, claim),
		base("input", "filter", localIn, beforeInput, decide),
		base("input-rest", "filter", localIn, afterInput, rest),
		base("output", "filter", localOut, beforeOutput, decide),
		base("output-rest", "filter", localOut, afterOutput, append(rest[:len(rest):len(rest)], output...)),
		base("forward", "filter", forwarding, 0, forward),
		base("postrouting", "nat", postrouting, sourceNAT, l.postrouting()),
	)
}

// The hooks, by what nft calls them.
var (
	prerouting  = nft.Hook{Name: "prerouting", Number: unix.NF_INET_PRE_ROUTING}
	localIn     = nft.Hook{Name: "input", Number: unix.NF_INET_LOCAL_IN}
	forwarding  = nft.Hook{Name: "forward", Number: unix.NF_INET_FORWARD}
	localOut    = nft.Hook{Name: "output", Number: unix.NF_INET_LOCAL_OUT}
	postrouting = nft.Hook{Name: "postrouting", Number: unix.NF_INET_POST_ROUTING}
)

func base(name, kind string, hook nft.Hook, priority int32, rules []nft.Statement) nft.Chain {
	hook.Type, hook.Priority = kind, priority
	return nft.Chain{Name: name, Hook: &hook, Rules: rules}
}

// refuse answers what matches.
func (l *layout) refuse(match nft.Statement) []nft.Statement {
	return l.ip.Refuse(nft.TCP.Is(true), match)
}

// claim translates the addresses of kube-ipvs0 to themselves. Without it the rules for a CNI's hostPorts, which
// translate what is sent to any local address, would take the ports of Services. Without kube-ipvs0 it claims
// nothing: the rules of another proxy translate what is sent there.
func (l *layout) claim() nft.Statement {
	to := l.key(destination)
	return nft.Rule(to, nft.In(setVIPs, true), nft.ToThisNode(true), nft.Say("dnat to "+to.Text, append(to.Exprs, &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(l.ip.Number), RegAddrMin: unix.NFT_REG_1, RegAddrMax: unix.NFT_REG_1,
	})...))
}

// decide sends each class its way.
func (l *layout) decide() nft.Chain {
	c := nft.Chain{Name: "decide", Rules: []nft.Statement{nft.Rule(
		l.key(destination, protocol, port), nft.In(setRestricted, true),
		l.key(destination, protocol, port, source), nft.In(setSources, false), nft.Drop,
	)}}
	pods := l.host.Pods
	switch {
	case pods.Interface != "":
		c.Rules = append(c.Rules, nft.Rule(nft.FromInterface(pods.Interface, false, true), nft.Goto("pod")))
	case pods.Prefix != "":
		c.Rules = append(c.Rules, nft.Rule(nft.FromInterface(pods.Prefix, true, true), nft.Goto("pod")))
	}
	for _, p := range l.only(pods.CIDRs) {
		c.Rules = append(c.Rules, nft.Rule(l.ip.InNetwork(l.ip.Source(), p), nft.Goto("pod")))
	}
	c.Rules = append(c.Rules, nft.Rule(nft.FromThisNode(true), nft.Goto("node")), nft.Goto("outside"))
	return c
}

// class is what happens to packets of a class: they are answered, dropped or marked.
func (l *layout) class(c vip.Class) nft.Chain {
	frontend := l.key(destination, protocol, port)
	refused := l.refuse(nft.Rule(frontend, nft.In(setName(rejects, c), true)))
	return nft.Chain{Name: c.String(), Rules: append(refused,
		nft.Rule(frontend, nft.In(setName(drops, c), true), nft.Drop),
		nft.Rule(frontend, nft.In(setName(masquerades, c), true), nft.SetMarkBits(l.host.MasqueradeMark)),
		nft.SetMark(nft.Map(setName(marks, c), l.fields(destination, protocol, port)...)),
	)}
}

// unusedAddrs drops what is sent to ClusterIPs that no Service has. It leaves alone what rules translated and what
// is for the node itself.
func (l *layout) unusedAddrs(more ...nft.Statement) []nft.Statement {
	var rules []nft.Statement
	for _, p := range l.only(l.host.Enforced()) {
		match := nft.Rule(nft.IsNew, l.ip.InNetwork(l.ip.Destination(), p), nft.IsUntranslated, nft.ToThisNode(false))
		rules = append(rules, nft.Rule(match, nft.Rule(more...), nft.Drop))
	}
	return rules
}

// notByIPVS matches what processes of this node send and IPVS did not translate. In the hook output IPVS also sends
// what came in from elsewhere, and conntrack shows its translations only by the original destination.
func (l *layout) notByIPVS() nft.Statement {
	return nft.Rule(nft.FromProcess(), nft.Concat(l.ip.OriginalDestination()), nft.In(setVIPs, false))
}

// postrouting masquerades what a class's chain marked, what leads a pod back to itself, and what the
// node sends from a virtual address because it has no better one.
func (l *layout) postrouting() []nft.Statement {
	bit := l.host.MasqueradeMark
	return []nft.Statement{
		nft.Rule(nft.MarkIs(bit, bit), nft.KeepMarkBits(^bit), nft.Masquerade),
		nft.Rule(l.key(source, destination), nft.In(setHairpin, true), nft.Masquerade),
		nft.Rule(l.key(source), nft.In(setVIPs, true), nft.Masquerade),
	}
}

// unmark clears the firewall mark once the virtual server is chosen, except the bit that asks for masquerading. A
// tunnel would carry the mark along, and IPVS would take the tunnel's packets for ours.
func (l *layout) unmark() nft.Statement {
	bit := l.host.MasqueradeMark
	mask := uint32(markMask) &^ bit
	return nft.Rule(nft.MarkIs(mask, markTag&mask), nft.KeepMarkBits(bit))
}

func (l *layout) only(list []netip.Prefix) []netip.Prefix {
	var own []netip.Prefix
	for _, p := range list {
		if p.Addr().Is4() == l.v4 {
			own = append(own, p.Masked())
		}
	}
	return own
}

// text prints the companion without elements, much as nft does.
func (l *layout) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", l.family(), tableName)
	for _, s := range sets() {
		kind, end := "set", ""
		if s.isMap {
			kind, end = "map", " : mark"
		}
		if s.ranges {
			end += " flags interval"
		}
		fmt.Fprintf(&b, "\t%s %s { typeof %s%s }\n", kind, s.name, l.key(s.fields...).Text, end)
	}
	for _, c := range l.chains() {
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		if c.Hook != nil {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.Hook.Type, c.Hook.Name, c.Hook.Priority)
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.Text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// sealed is what the name of a seal begins with.
const sealed = "rules-"

// seal is the name of an empty chain that tells which rules the table has.
func (l *layout) seal() string {
	if l.name == "" {
		h := fnv.New64a()
		h.Write([]byte(l.text()))
		l.name = fmt.Sprintf("%s%016x", sealed, h.Sum64())
	}
	return l.name
}

func (l *layout) family() string { return l.ip.Name }

// keyOf is the key of an element, and where the set has ranges its end.
func (s *set) keyOf(e element) (key, end []byte) {
	var last []byte
	for _, f := range s.fields {
		part := fieldBytes(f, e)
		last = part
		key = append(key, part...)
	}
	if !s.ranges {
		return key, nil
	}
	end = append(end, key[:len(key)-len(last)]...)
	return key, append(end, lastAddr(e.source).AsSlice()...)
}

func fieldBytes(f field, e element) []byte {
	switch f {
	case protocol:
		return []byte{byte(e.place.Protocol), 0, 0, 0}
	case port:
		return append(binary.BigEndian.AppendUint16(nil, e.place.Port), 0, 0)
	case source:
		if e.source.IsValid() {
			return e.source.Addr().AsSlice()
		}
	}
	return e.place.Addr.AsSlice()
}

// lastAddr is the highest address of a network.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
