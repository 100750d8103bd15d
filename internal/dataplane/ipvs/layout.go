package ipvs

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
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

	name string // of the seal, once it is made
}

func newLayout(h *dataplane.Host, v4 bool) *layout { return &layout{host: h, v4: v4} }

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

// A chain is a chain of the companion. A base chain has a hook.
type chain struct {
	name     string
	kind     nftables.ChainType // "" for one that others lead to
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    []phrase
}

// Priorities, by those of IPVS: it takes packets in at 99 in the hook input and at -98 in output,
// where it lets them pass once more after it translated them.
const (
	beforeInput  = 10
	afterInput   = 110
	beforeOutput = -99
	afterOutput  = -90
)

// claimPriority is before that of destination NAT (-100): of the rules that translate a packet the
// first counts.
const claimPriority = -110

// The chains that claim the addresses of kube-ipvs0.
const claimPrerouting, claimOutput = "claim-prerouting", "claim-output"

// chains are all of them; those that others lead to come first.
func (l *layout) chains() []chain {
	var list []chain
	for c := range vip.Classes {
		list = append(list, l.class(c))
	}
	list = append(list, l.decide())
	isNew, filter := ctNew(), nftables.ChainTypeFilter
	decide := []phrase{join(isNew, verdict(expr.VerdictJump, "decide"))}
	rest := append([]phrase{l.unmark()}, l.refuse(join(isNew, untranslated(), l.key(destination), l.in(setVIPs, true)))...)
	forward, output := l.unusedAddrs(), l.unusedAddrs(l.notByIPVS())
	claim := []phrase{l.claim()}
	return append(list,
		chain{claimPrerouting, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, claimPriority, claim},
		chain{claimOutput, nftables.ChainTypeNAT, nftables.ChainHookOutput, claimPriority, claim},
		chain{"input", filter, nftables.ChainHookInput, beforeInput, decide},
		chain{"input-rest", filter, nftables.ChainHookInput, afterInput, rest},
		chain{"output", filter, nftables.ChainHookOutput, beforeOutput, decide},
		chain{"output-rest", filter, nftables.ChainHookOutput, afterOutput, append(rest[:len(rest):len(rest)], output...)},
		chain{"forward", filter, nftables.ChainHookForward, 0, forward},
		chain{"postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, l.postrouting()},
	)
}

// claim translates the addresses of kube-ipvs0 to themselves. Without it the rules for a CNI's hostPorts, which
// translate what is for any local address, would take the ports of Services. Once kube-ipvs0 is gone it claims
// nothing: the rules of another proxy are to translate what is sent there.
func (l *layout) claim() phrase {
	return join(l.key(destination), l.in(setVIPs, true), toThisNode(true), l.translate(l.key(destination)))
}

// decide sends each class its way.
func (l *layout) decide() chain {
	frontend := l.key(destination, protocol, port)
	c := chain{name: "decide", rules: []phrase{join(
		frontend, l.in(setRestricted, true),
		l.key(destination, protocol, port, source), l.in(setSources, false), drop(),
	)}}
	pods := l.host.Pods
	switch {
	case pods.Interface != "":
		c.rules = append(c.rules, join(fromInterface(pods.Interface, false), verdict(expr.VerdictGoto, "pod")))
	case pods.Prefix != "":
		c.rules = append(c.rules, join(fromInterface(pods.Prefix, true), verdict(expr.VerdictGoto, "pod")))
	}
	for _, p := range l.only(pods.CIDRs) {
		c.rules = append(c.rules, join(l.network(source, p), verdict(expr.VerdictGoto, "pod")))
	}
	c.rules = append(c.rules,
		join(fromThisNode(), verdict(expr.VerdictGoto, "node")),
		verdict(expr.VerdictGoto, "outside"),
	)
	return c
}

// class is what happens to packets of a class: they are answered, dropped or marked.
func (l *layout) class(c vip.Class) chain {
	frontend := l.key(destination, protocol, port)
	refused := l.refuse(join(frontend, l.in(setName(rejects, c), true)))
	return chain{name: c.String(), rules: append(refused,
		join(frontend, l.in(setName(drops, c), true), drop()),
		join(frontend, l.in(setName(masquerades, c), true), setBits(l.host.MasqueradeMark)),
		l.markFrom(setName(marks, c), destination, protocol, port),
	)}
}

// unusedAddrs drops what is sent to ClusterIPs that no Service has. It leaves alone what rules translated and what
// is for the node itself.
func (l *layout) unusedAddrs(more ...phrase) []phrase {
	var rules []phrase
	for _, p := range l.only(l.host.Enforced()) {
		match := join(ctNew(), l.network(destination, p), untranslated(), toThisNode(false))
		rules = append(rules, join(match, join(more...), drop()))
	}
	return rules
}

// notByIPVS matches what processes of this node send and IPVS did not translate: it sends in the hook output also
// what came in from elsewhere, and conntrack tells its translations by the original destination alone.
func (l *layout) notByIPVS() phrase {
	return join(fromProcess(), l.originalDestination(), l.in(setVIPs, false))
}

// postrouting masquerades what a class's chain marked, what leads a pod back to itself, and what the
// node sends from a virtual address because it has no better one.
func (l *layout) postrouting() []phrase {
	bit := l.host.MasqueradeMark
	return []phrase{
		join(markIs(bit, bit), keepBits(^bit), masquerade()),
		join(l.key(source, destination), l.in(setHairpin, true), masquerade()),
		join(l.key(source), l.in(setVIPs, true), masquerade()),
	}
}

// unmark takes the firewall mark off once the virtual server is chosen, but for the bit that asks for
// masquerading: a tunnel would carry the mark along, and IPVS take the tunnel's packets for ours.
func (l *layout) unmark() phrase {
	bit := l.host.MasqueradeMark
	mask := uint32(markMask) &^ bit
	return join(markIs(mask, markTag&mask), keepBits(bit))
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
		fmt.Fprintf(&b, "\t%s %s { typeof %s%s }\n", kind, s.name, l.key(s.fields...).text, end)
	}
	for _, c := range l.chains() {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.kind != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.kind, hookNames[*c.hook], c.priority)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

var hookNames = map[nftables.ChainHook]string{
	*nftables.ChainHookPrerouting: "prerouting",
	*nftables.ChainHookInput:      "input", *nftables.ChainHookForward: "forward",
	*nftables.ChainHookOutput: "output", *nftables.ChainHookPostrouting: "postrouting",
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

func (l *layout) family() string {
	if l.v4 {
		return "ip"
	}
	return "ip6"
}

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

// registers of nf_tables: that of 16 bytes with number n begins with the one of 4 bytes 8 + 4 (n - 1).
const (
	firstRegister = unix.NFT_REG32_00
	wordBytes     = 4
)
