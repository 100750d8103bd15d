package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Packet begins a connection.
type Packet struct {
	Source      netip.Addr
	In          string // the interface that it came in by; empty: a process of this node sends it
	Destination netip.AddrPort
	Protocol    cluster.Protocol
}

// String gives source, destination and protocol: 10.0.0.1 > 10.96.0.1:443/tcp.
func (p Packet) String() string {
	return fmt.Sprintf("%v > %v/%v", p.Source, p.Destination, p.Protocol)
}

// Explanation is what becomes of a packet on this node, and why.
type Explanation struct {
	Packet
	Class Class
	// Route is what decided; nil if no frontend did.
	Route *Route
	// Action is Accept where the packet goes on as it is.
	Action  Action
	Answers []Answer // with Forward: one of these, drawn evenly or by affinity
	// Filtered is that the route does not take the packet because of where it comes from,
	// whatever its endpoints.
	Filtered bool

	because []string
}

// Answer is a backend, and whether it sees an address of the node in place of the
// client's.
type Answer struct {
	Backend
	Masquerade bool
}

// Explain tells what becomes of a packet: the meaning of a Table, in a few lines. No
// dataplane may do anything else.
func (t *Table) Explain(h *Host, p Packet) Explanation {
	x := Explanation{Packet: p, Class: h.Class(p.Source, p.In)}
	x.sayClass(h)
	if r := t.frontend(h, p); r != nil {
		x.Route = r
		x.decided(r)
		return x
	}
	x.rest(t, h)
	return x
}

// rest decides about a packet that no frontend takes.
func (x *Explanation) rest(t *Table, h *Host) {
	to, port := x.Destination.Addr(), portText(x.Packet)
	r := t.Route(Frontend{Addr: to})
	x.Action = Accept
	switch {
	case slices.Contains(h.Addrs, to):
		x.say("no Service has %v port %v on this node", to, port)
		if h.ServesNodePorts(to) {
			x.say("%v serves NodePorts, and none is %v", to, port)
		}
		x.sayNodePort(t, h)
	case r != nil:
		x.Route, x.Action = r, r.Policy.Of(x.Class).Action
		x.say("%v is the cluster IP of %v, which has no port %v", to, r.Owner, port)
	case h.BindsExternal && t.has(to):
		x.Action = Reject
		x.say("%v is an external address of a Service, and no Service has its port %v", to, port)
		x.say("refused: this mode makes external addresses the node's own")
	case inAny(h.Enforced(), to):
		x.Action = Drop
		x.say("%v is in a range of cluster IPs and belongs to no Service", to)
	default:
		x.say("no Service has %v port %v on this node", to, port)
		x.sayNodePort(t, h)
		x.sayNotEnforced(h)
	}
}

// sayNodePort names the Service that has the port as a NodePort, and the addresses that serve it.
func (x *Explanation) sayNodePort(t *Table, h *Host) {
	v4 := x.Destination.Addr().Is4()
	r := t.Route(Frontend{anyNode(v4), x.Destination.Port(), x.Protocol})
	if r == nil || r.Kind != NodePort {
		return
	}
	if slices.Contains(h.NodePortRelay, x.Destination.Addr()) && x.Protocol == cluster.TCP {
		x.say("%s is the NodePort of %v: the forwarder takes the connection and connects it to one of the endpoints", portText(x.Packet), r.Owner)
		return
	}
	var serve []string
	for _, a := range h.NodePortAddrs {
		if a.Is4() == v4 {
			serve = append(serve, a.String())
		}
	}
	if serve == nil {
		serve = []string{"none of its addresses"}
	}
	x.say("%s is the NodePort of %v, which this node serves on %s", portText(x.Packet), r.Owner, strings.Join(serve, ", "))
}

// sayNotEnforced explains why a packet is left alone that is sent to a range of cluster IPs.
func (x *Explanation) sayNotEnforced(h *Host) {
	to := x.Destination.Addr()
	if !inAny(h.ServiceCIDRs, to) {
		return
	}
	x.say("%v is in a range of cluster IPs and belongs to no Service", to)
	if !h.DropsUnused {
		x.say("left alone: this mode does not drop what is sent to unused cluster IPs")
		return
	}
	for _, o := range h.Overlaps {
		if o.CIDR.Contains(to) {
			x.say("left alone: the range %v overlaps the %v", o.CIDR, o.With)
		}
	}
}

// has reports whether an address has any frontend.
func (t *Table) has(a netip.Addr) bool {
	for f, list := range t.claims {
		if f.Addr == a && !list[0].OnOtherNode {
			return true
		}
	}
	return false
}

// frontend is the route that a packet meets, but for the rest of an address.
func (t *Table) frontend(h *Host, p Packet) *Route {
	f := Frontend{p.Destination.Addr(), p.Destination.Port(), p.Protocol}
	r := t.Route(f)
	if r == nil && h.ServesNodePorts(f.Addr) {
		f.Addr = anyNode(f.Addr.Is4())
		r = t.Route(f)
	}
	return r
}

// decided follows the decision of a route.
func (x *Explanation) decided(r *Route) {
	x.say("%v of %v", r.Kind, r.Owner)
	if r.Sources != nil && !inAny(r.Sources, x.Source) {
		x.Action, x.Filtered = Drop, true
		x.say("loadBalancerSourceRanges: %v is not in %s", x.Source, prefixText(r.Sources))
		return
	}
	if r.Sources != nil {
		x.say("loadBalancerSourceRanges: %v is in %s", x.Source, prefixText(r.Sources))
	}
	d := r.Policy.Of(x.Class)
	x.Action = d.Action
	if d.Action == Forward {
		for _, b := range r.Backends(d.Set) {
			hairpin := b.Local && b.Addr() == x.Source
			x.Answers = append(x.Answers, Answer{b, d.Masquerade || hairpin})
		}
	}
	x.sayDecision(r, d)
}

func (x *Explanation) say(format string, args ...any) {
	x.because = append(x.because, fmt.Sprintf(format, args...))
}

func (x *Explanation) sayClass(h *Host) {
	switch {
	case x.Class == FromNode:
		x.say("from this node: %v is an address of it", x.Source)
	case x.Class == FromPod && (h.Pods.Interface != "" || h.Pods.Prefix != ""):
		x.say("from a pod: it comes in by %s", x.In)
	case x.Class == FromPod:
		x.say("from a pod: %v is in %s", x.Source, prefixText(h.Pods.CIDRs))
	case h.Pods.Tell(x.Source.Is4()):
		x.say("from outside: %v is neither of a pod nor of this node", x.Source)
	default:
		x.say("from outside: %v is not of this node, and pods cannot be told from others", x.Source)
	}
}

// sayDecision names the rule behind a decision. What is Local for outside only, or for
// nobody because there is nothing, can be read from the other decisions.
func (x *Explanation) sayDecision(r *Route, d Decision) {
	policy := "externalTrafficPolicy"
	if r.Kind == ClusterIP {
		policy = "internalTrafficPolicy"
	}
	switch {
	case r.Kind == HealthCheck:
		x.say("the forwarder answers itself; endpoints of this node that are ready: %d", r.Healthy)
		return
	case d.Action == Reject:
		return // Unserved says why
	case d.Action == Drop:
		x.say("dropped: %s is Local, and none of its endpoints is on this node", policy)
		return
	case d.Set == Local:
		x.say("%s is Local: only endpoints of this node", policy)
	case r.Kind != ClusterIP && localOutside(r):
		x.say("%s is Local, which does not hold for who is inside the cluster", policy)
	}
	if r.Affinity > 0 {
		x.say("sessionAffinity: the same endpoint as %v had in the last %d s", x.Source, r.Affinity)
	}
	x.saySource(r, d)
}

func (x *Explanation) saySource(r *Route, d Decision) {
	switch {
	case !d.Masquerade:
		x.say("its source address is kept")
	case r.Kind == ClusterIP && x.Class == FromPod:
		x.say("masqueraded: the configuration says so for all (masqueradeAll)")
	case r.Kind == ClusterIP:
		x.say("masqueraded: it is not from a pod, and its answer would not come back this way")
	default:
		x.say("masqueraded: its answer must come back through this node")
	}
	if i := slices.IndexFunc(x.Answers, func(a Answer) bool { return a.Masquerade && !d.Masquerade }); i >= 0 {
		x.say("masqueraded if it leads back to %v itself (hairpin)", x.Answers[i].Addr())
	}
}

func localOutside(r *Route) bool {
	d := r.Policy.Of(FromOutside)
	return d.Action == Drop || d.Action == Forward && d.Set == Local
}

// Outcome says in a few words what happens: to 10.244.1.2:8080* 10.244.2.7:8080,
// masqueraded; or refused, dropped, not translated.
func (x *Explanation) Outcome() string {
	switch x.Action {
	case Reject:
		return "refused"
	case Drop:
		return "dropped"
	case Accept:
		return "not translated"
	}
	var b strings.Builder
	b.WriteString("to")
	for _, a := range x.Answers {
		fmt.Fprintf(&b, " %v", a.AddrPort)
		if a.Local {
			b.WriteByte('*')
		}
		if a.Masquerade {
			b.WriteString("+masquerade")
		}
	}
	return b.String()
}

// String gives the outcome and, below it, each reason in a line of its own.
func (x *Explanation) String() string {
	text := fmt.Sprintf("%v: %s\n", x.Packet, x.Outcome())
	for _, reason := range x.because {
		text += "  " + reason + "\n"
	}
	return text
}

func portText(p Packet) string { return fmt.Sprintf("%d/%v", p.Destination.Port(), p.Protocol) }
