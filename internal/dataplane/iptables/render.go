package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A group is what is rendered together: the frontends of one Service port in one family.
type group struct {
	owner    vip.Owner
	protocol cluster.Protocol
	v4       bool
}

func groupOf(r *vip.Route) group { return group{r.Owner, r.Protocol, r.Addr.Is4()} }

// A piece is the rules of a group: chains of its own, and its lines in shared ones.
type piece struct {
	chains  map[chain][]string
	entries map[chain][]string
}

// renderer renders the piece of one group.
type renderer struct {
	group
	host *dataplane.Host
	port string // what names are made of
	out  piece
	sets map[string]string // names of chains by the backends that they draw from
}

// render makes the rules of a group's routes, which are sorted by frontend.
func render(h *dataplane.Host, g group, routes []*vip.Route) piece {
	d := renderer{
		group: g, host: h, port: portName(g.owner, g.protocol),
		out:  piece{map[chain][]string{}, map[chain][]string{}},
		sets: map[string]string{},
	}
	// The ClusterIP is named first, so that an odd other frontend cannot take its names.
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b *vip.Route) int { return int(a.Kind) - int(b.Kind) })
	for _, r := range routes {
		d.route(r)
	}
	return d.out
}

func (d *renderer) enter(c chain, r rule, target string) {
	r.target = target
	d.out.entries[c] = append(d.out.entries[c], r.String())
}

// route renders one frontend.
func (d *renderer) route(r *vip.Route) {
	switch r.Kind {
	case vip.OtherPorts:
		to := drops
		if r.Decisions[vip.FromPod].Action == vip.Reject {
			to = reject.name
		}
		d.enter(otherPorts, rule{dest: host(r.Addr), comment: d.owner.Service.String() + " has no such port"}, to)
		return
	case vip.HealthCheck:
		entry := at(r.Frontend)
		entry.comment = d.owner.Service.String() + " health check node port"
		d.enter(healthChecks, entry, accepts)
		return
	}
	d.translate(r)
	d.refuse(r)
}

// forwards reports whether any class is forwarded.
func forwards(r *vip.Route) bool {
	return slices.ContainsFunc(r.Decisions[:], func(d vip.Decision) bool { return d.Action == vip.Forward })
}

// translate leads the classes that are forwarded to their backends.
func (d *renderer) translate(r *vip.Route) {
	if !forwards(r) {
		return
	}
	entry := at(r.Frontend)
	target := ""
	if r.Kind == vip.ClusterIP {
		entry.comment = d.owner.String() + " cluster IP"
		target = d.internal(r, entry)
	} else {
		entry.comment = d.owner.String() + map[vip.Kind]string{
			vip.ExternalIP: " external IP", vip.LoadBalancer: " loadbalancer IP", vip.NodePort: "",
		}[r.Kind]
		target = d.external(r)
	}
	if r.Sources != nil {
		target = d.fromSources(r, target)
	}
	to := services
	if r.IsNodePort() {
		to = nodePorts
	}
	d.enter(to, entry, target)
}

// internal is where a ClusterIP leads: straight to the backends, before which one rule marks
// all but pods. Anything else needs a chain between.
func (d *renderer) internal(r *vip.Route, entry rule) string {
	pod, node, out := r.Decisions[vip.FromPod], r.Decisions[vip.FromNode], r.Decisions[vip.FromOutside]
	everybody := pod == node && pod == out
	others := pod.Action == vip.Forward && node == out && node.Action == vip.Forward && node.Set == pod.Set &&
		!pod.Masquerade && node.Masquerade && len(d.pods()) == 1
	if !everybody && !others {
		return d.byClass("KUBE-INT-", r)
	}
	name := d.draw(r, pod.Set)
	if !node.Masquerade {
		return name
	}
	entry.target = markMasq.name
	if others {
		m := d.pods()[0]
		entry.source, entry.in = not(m.source), not(m.in)
	}
	c := chain{nat, name}
	d.out.chains[c] = slices.Insert(d.out.chains[c], 0, entry.String())
	return name
}

func not(value string) string {
	if value == "" {
		return ""
	}
	return "! " + value
}

// external is where the other frontends lead, which are alike for a Service port.
func (d *renderer) external(r *vip.Route) string { return d.byClass("KUBE-EXT-", r) }

// byClass is a chain that sends each class its way. Classes that are not forwarded return:
// table filter meets them.
func (d *renderer) byClass(prefix string, r *vip.Route) string {
	var rules []string
	add := func(m rule, comment, target string) {
		m.comment, m.target = comment, target
		rules = append(rules, m.String())
	}
	alike := r.Decisions[vip.FromPod] == r.Decisions[vip.FromNode] && r.Decisions[vip.FromPod] == r.Decisions[vip.FromOutside]
	for class, matches := range d.classes() {
		decision := r.Decisions[class]
		if alike && class != vip.FromOutside {
			continue
		}
		for _, m := range matches {
			if decision.Action != vip.Forward {
				if class != vip.FromOutside { // the end of the chain does it
					add(m, "", returns)
				}
				continue
			}
			if decision.Masquerade {
				add(m, "masquerade traffic for "+d.owner.String()+" external destinations", markMasq.name)
			}
			add(m, "", d.draw(r, decision.Set))
		}
	}
	return d.own(prefix, r, rules)
}

// own gives rules a chain. Where the name is taken by other rules, the frontend is part of the name.
func (d *renderer) own(prefix string, r *vip.Route, rules []string) string {
	c := chain{nat, prefix + hash(d.port)}
	if there, taken := d.out.chains[c]; taken && !slices.Equal(there, rules) {
		c.name = prefix + hash(d.port, r.Frontend.String())
	}
	d.out.chains[c] = rules
	return c.name
}

// fromSources is a chain that lets only some sources on. Table filter drops the others.
func (d *renderer) fromSources(r *vip.Route, target string) string {
	var rules []string
	for _, p := range r.Sources {
		rules = append(rules, rule{source: p.String(), target: target}.String())
	}
	name := d.own("KUBE-FW-", r, rules)
	return name
}

// classes yields how packets of each class are told, in the order in which that is right.
func (d *renderer) classes() func(func(vip.Class, []rule) bool) {
	return func(yield func(vip.Class, []rule) bool) {
		_ = yield(vip.FromPod, d.pods()) && yield(vip.FromNode, []rule{{matches: fromLocal}}) &&
			yield(vip.FromOutside, []rule{{}})
	}
}

func (d *renderer) pods() []rule { return podMatches(d.host, d.v4) }

// podMatches are how packets of pods are told: none if they cannot be.
func podMatches(h *dataplane.Host, v4 bool) []rule {
	p := h.Pods
	switch {
	case p.Interface != "":
		return []rule{{in: p.Interface}}
	case p.Prefix != "":
		return []rule{{in: p.Prefix + "+"}}
	}
	var matches []rule
	for _, c := range only(p.CIDRs, v4) {
		matches = append(matches, rule{source: c.Masked().String()})
	}
	return matches
}

// draw is the chain that draws one of a set of backends: by affinity, then at random.
func (d *renderer) draw(r *vip.Route, s vip.Set) string {
	backends := r.Backends(s)
	id := fmt.Sprint(s, r.Affinity, backends)
	if name, made := d.sets[id]; made {
		return name
	}
	name := map[vip.Set]string{vip.Cluster: "KUBE-SVC-", vip.Local: "KUBE-SVL-"}[s] + hash(d.port)
	if slices.Contains(slices.Collect(maps.Values(d.sets)), name) {
		name = name[:len("KUBE-SVC-")] + hash(d.port, r.Frontend.String())
	}
	d.sets[id] = name
	var rules []string
	add := func(b vip.Backend, matches string) {
		to := rule{comment: d.owner.String() + " -> " + b.String(), matches: matches, target: d.backend(b, r.Affinity)}
		rules = append(rules, to.String())
	}
	if r.Affinity > 0 {
		for _, b := range backends {
			add(b, recent(backendName(d.port, b.AddrPort), d.v4, fmt.Sprintf("--rcheck --seconds %d --reap", r.Affinity)))
		}
	}
	for i, b := range backends {
		matches := ""
		if left := len(backends) - i; left > 1 {
			matches = oneIn(left)
		}
		add(b, matches)
	}
	d.out.chains[chain{nat, name}] = rules
	return name
}

// backend is the chain of one backend.
func (d *renderer) backend(b vip.Backend, affinity uint32) string {
	name := backendName(d.port, b.AddrPort)
	translate := rule{
		protocol: d.protocol, comment: d.owner.String(), target: "DNAT --to-destination " + b.String(),
	}
	if affinity > 0 {
		translate.matches = recent(name, d.v4, "--set")
	}
	translate.matches = joined(translate.matches, fmt.Sprintf("-m %v", d.protocol))
	var rules []string
	if b.Local { // it may dial itself, and would answer itself past the node
		itself := rule{source: host(b.Addr()), comment: d.owner.String(), target: markMasq.name}
		rules = append(rules, itself.String())
	}
	d.out.chains[chain{nat, name}] = append(rules, translate.String())
	return name
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// refuse refuses and drops what is not to be forwarded, and what came from other sources.
func (d *renderer) refuse(r *vip.Route) {
	to := refusedElse
	switch {
	case r.Kind == vip.ClusterIP:
		to = refused
	case r.IsNodePort():
		to = refusedPorts
	}
	all := r.Decisions[vip.FromPod] == r.Decisions[vip.FromNode] && r.Decisions[vip.FromPod] == r.Decisions[vip.FromOutside]
	complete := true // all in range were translated
	for class, matches := range d.classes() {
		action := r.Decisions[class].Action
		if action == vip.Forward {
			continue
		}
		complete = false
		if all && class != vip.FromOutside {
			continue
		}
		for _, m := range matches {
			entry := at(r.Frontend)
			entry.source, entry.in, entry.matches = m.source, m.in, m.matches
			switch action {
			case vip.Reject:
				entry.comment = d.owner.String() + " has no endpoints"
				d.enter(to, entry, rejects(d.v4, d.protocol))
			case vip.Drop:
				entry.comment = d.owner.String() + " has no local endpoints"
				d.enter(to, entry, drops)
			}
		}
	}
	if r.Sources != nil {
		d.shut(r, complete)
	}
}

// shut drops what came to a frontend from other sources than its own.
func (d *renderer) shut(r *vip.Route, complete bool) {
	entries := []rule{at(r.Frontend)}
	if r.IsNodePort() { // not what passes on its way to another node
		entries = nil
		for _, m := range nodeAddrs(d.host, d.v4) {
			m.protocol, m.port = r.Protocol, r.Port
			entries = append(entries, m)
		}
	}
	name, comment, target := "KUBE-FW-"+hash(d.port), "", drops
	if complete {
		comment = d.owner.String() + " traffic not accepted by " + name
	} else {
		target = d.withinRanges(r, name)
	}
	for _, e := range entries {
		e.comment = comment
		d.enter(firewall, e, target)
	}
}

// withinRanges is a chain that drops all but what comes from the ranges of a frontend.
func (d *renderer) withinRanges(r *vip.Route, name string) string {
	var rules []string
	for _, p := range r.Sources {
		rules = append(rules, rule{source: p.String(), target: returns}.String())
	}
	c := chain{filter, name}
	d.out.chains[c] = append(rules, rule{target: drops}.String())
	return name
}

// only keeps the addresses of a family.
func only(list []netip.Prefix, v4 bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() != v4 })
}
