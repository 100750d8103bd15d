package ipvs

import (
	"hash/fnv"
	"net/netip"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// facts are what is to be in the kernel, or is: all of it, or all that some frontends need.
type facts struct {
	addrs    map[netip.Addr]bool // of kube-ipvs0
	servers  map[virtual]server
	elements map[element]uint32 // of the companion's sets, with the value in maps
}

func newFacts() facts {
	return facts{map[netip.Addr]bool{}, map[virtual]server{}, map[element]uint32{}}
}

// An element is an element of one of the companion's sets. What its key consists of
// depends on the set.
type element struct {
	set    string
	place  vip.Frontend
	source netip.Prefix
}

// A model is what there should be, and knows what a change of some frontends means.
type model struct {
	host      *dataplane.Host
	own       map[netip.Addr]bool        // addresses of this node that it has without us
	scheduler func(wanted string) string // the one that the kernel has
	routes    map[vip.Frontend]*vip.Route
	addrs     map[netip.Addr]int // how many frontends an address has
	pods      map[netip.Addr]int // how many backends a pod of this node is
	marks     map[vip.Frontend]uint32
	used      map[uint32]bool
}

func newModel(h *dataplane.Host, scheduler func(string) string) *model {
	return &model{
		host: h, own: map[netip.Addr]bool{}, scheduler: scheduler, routes: map[vip.Frontend]*vip.Route{},
		addrs: map[netip.Addr]int{}, pods: map[netip.Addr]int{}, marks: map[vip.Frontend]uint32{}, used: map[uint32]bool{},
	}
}

// change takes changes in, and returns the facts of their frontends before and after.
func (m *model) change(changes []vip.Change) (before, after facts) {
	before, after = newFacts(), newFacts()
	m.tell(changes, before)
	for _, c := range changes {
		m.count(m.routes[c.Frontend], -1)
		m.count(c.New, 1)
		delete(m.routes, c.Frontend)
		if c.New != nil {
			m.routes[c.Frontend] = c.New
		}
	}
	m.tell(changes, after)
	for _, c := range changes {
		m.forget(c.Frontend)
	}
	return before, after
}

// count counts what several routes share.
func (m *model) count(r *vip.Route, n int) {
	if r == nil {
		return
	}
	if a, ok := m.bound(r); ok {
		add(m.addrs, a, n)
	}
	for _, b := range r.Reachable() {
		if b.Local {
			add(m.pods, b.Addr(), n)
		}
	}
}

func add(counts map[netip.Addr]int, a netip.Addr, n int) {
	if counts[a] += n; counts[a] == 0 {
		delete(counts, a)
	}
}

// bound is the address that a route needs on kube-ipvs0, if it needs one. What the node
// has without us is local already, and its other ports are the node's. The address of
// another node would cut this node off from that: a process of this node is led all the
// same, by IPVS's hook in output, and what others send to it is up to that node.
func (m *model) bound(r *vip.Route) (netip.Addr, bool) {
	return r.Addr, !r.IsNodePort() && !m.own[r.Addr] && !r.OnOtherNode
}

// tell tells the facts of the frontends that some changes are about.
func (m *model) tell(changes []vip.Change, f facts) {
	for _, c := range changes {
		for _, place := range m.places(c.Frontend) {
			m.place(place, f)
		}
		for _, r := range []*vip.Route{c.Old, c.New} {
			if r != nil {
				m.shared(r, f)
			}
		}
		if r := m.routes[c.Frontend]; r != nil {
			m.markServers(r, f)
		}
	}
}

// shared tells of the addresses and pods of a route that there are now, because of it or of others.
func (m *model) shared(r *vip.Route, f facts) {
	if a, ok := m.bound(r); ok && m.addrs[a] > 0 {
		f.addrs[a] = true
		f.elements[element{set: setVIPs, place: vip.Frontend{Addr: a}}] = 0
	}
	for _, b := range r.Reachable() {
		if m.pods[b.Addr()] > 0 {
			f.elements[element{set: setHairpin, place: vip.Frontend{Addr: b.Addr()}}] = 0
		}
	}
}

// places are where packets for a frontend are sent to: a NodePort has several.
func (m *model) places(f vip.Frontend) []vip.Frontend {
	switch {
	case f.IsOtherPorts():
		return nil
	case !f.IsNodePort():
		return []vip.Frontend{f}
	}
	var list []vip.Frontend
	for _, a := range m.host.NodePortAddrs {
		if a.Is4() == f.Addr.Is4() {
			f.Addr = a
			list = append(list, f)
		}
	}
	return list
}

// at is the route that a packet to a place meets: that of its address, or else a NodePort's.
func (m *model) at(place vip.Frontend) *vip.Route {
	if r := m.routes[place]; r != nil {
		return r
	}
	if !m.host.ServesNodePorts(place.Addr) {
		return nil
	}
	place.Addr = map[bool]netip.Addr{true: vip.AnyNode4, false: vip.AnyNode6}[place.Addr.Is4()]
	return m.routes[place]
}

// routeOf is the route that a virtual server is made for.
func (m *model) routeOf(v virtual) *vip.Route {
	if v.mark == 0 {
		return m.at(v.Frontend)
	}
	for k, n := range m.marks {
		if n == v.mark && k.Addr.Is4() == v.v4 {
			return m.routes[k]
		}
	}
	return nil
}

// place tells the facts of a place.
func (m *model) place(place vip.Frontend, f facts) {
	r := m.at(place)
	if r == nil || r.Kind == vip.HealthCheck {
		return
	}
	f.servers[at(place)] = server{m.settings(r), backendsOf(r.Backends(mainSet(r.Policy))), r.Protocol == cluster.UDP}
	for class := range vip.Classes {
		if what := effectOf(r.Policy, class); what != "" {
			f.elements[element{set: setName(what, class), place: place}] = m.valueOf(what, r.Frontend)
		}
	}
	if r.Sources == nil {
		return
	}
	f.elements[element{set: setRestricted, place: place}] = 0
	for _, p := range r.Sources {
		f.elements[element{set: setSources, place: place, source: p.Masked()}] = 0
	}
}

// effectOf returns what a class needs beside the virtual server, or "". What is marked is never masqueraded: see
// vip.ExternalLocal.
func effectOf(p vip.Policy, class vip.Class) string {
	switch d := p.Of(class); {
	case d.Action == vip.Reject:
		return rejects
	case d.Action == vip.Drop:
		return drops
	case d.Action == vip.Forward && d.Set != mainSet(p):
		return marks
	case d.Masquerade:
		return masquerades
	}
	return ""
}

// valueOf returns what a map has for a frontend, and 0 for a set.
func (m *model) valueOf(what string, f vip.Frontend) uint32 {
	if what == marks {
		return m.mark(f)
	}
	return 0
}

// mainSet returns which backends the virtual server of a frontend's address has: those of the
// cluster if any class gets these. Classes that get others use a firewall mark.
func mainSet(p vip.Policy) vip.Set {
	if p.LeadsTo(vip.Cluster) {
		return vip.Cluster
	}
	return vip.Local
}

// hasMark reports whether some class reaches the backends of this node by a firewall mark.
func hasMark(p vip.Policy) bool { return p.LeadsTo(vip.Cluster) && p.LeadsTo(vip.Local) }

// markServers adds the virtual server of a route that has a firewall mark.
func (m *model) markServers(r *vip.Route, f facts) {
	if hasMark(r.Policy) {
		v := virtual{mark: m.mark(r.Frontend), v4: r.Addr.Is4()}
		f.servers[v] = server{m.markSettings(r), backendsOf(r.Local), r.Protocol == cluster.UDP}
	}
}

// markSettings are the settings of a virtual server that goes by a mark. With a memory of clients it
// would send them to the port that they dialled, and not to the backend's (ip_vs_sched_persist in Linux
// 6.1). So the backend is chosen by the client's address.
func (m *model) markSettings(r *vip.Route) settings {
	if r.Affinity > 0 {
		return settings{scheduler: m.scheduler("mh")}
	}
	return m.settings(r)
}

func (m *model) settings(r *vip.Route) settings {
	return settings{m.scheduler(r.Scheduler), r.Affinity}
}

// Firewall marks are 32 bits that others may use too: ours begin with this byte. The bit that
// asks for masquerading is not set.
const (
	markTag  = 0x53000000
	markMask = 0xff000000
)

// mark is the firewall mark of a frontend: the same after a restart and on every node, unless two
// frontends happen to fall on one.
func (m *model) mark(f vip.Frontend) uint32 {
	if n, ok := m.marks[f]; ok {
		return n
	}
	h := fnv.New32a()
	h.Write([]byte(f.String()))
	bit := m.host.MasqueradeMark
	for n := h.Sum32(); ; n++ {
		mark := (markTag | n&^uint32(markMask)) &^ bit
		if !m.used[mark] && mark&^markMask != 0 {
			m.marks[f], m.used[mark] = mark, true
			return mark
		}
	}
}

// forget frees the mark of a frontend that is gone, or needs none any more.
func (m *model) forget(f vip.Frontend) {
	if r := m.routes[f]; r != nil && hasMark(r.Policy) {
		return
	}
	delete(m.used, m.marks[f])
	delete(m.marks, f)
}
