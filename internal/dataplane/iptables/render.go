package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

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
		d.enter(otherPorts, rule{dest: host(r.Addr), comment: d.owner.Service.String() + " has no such port"}, reject.name)
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

// translate leads the classes that are forwarded to their backends.
func (d *renderer) translate(r *vip.Route) {
	if !r.Policy.Forwards() {
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

// internal returns the chain that a ClusterIP leads to: that of the backends, in which a first rule marks what is
// masqueraded. Where one rule cannot match all but pods, a chain between does that.
func (d *renderer) internal(r *vip.Route, entry rule) string {
	switch r.Policy {
	case vip.ClusterKeep, vip.LocalKeep:
		return d.draw(r, r.Policy.Of(vip.FromPod).Set)
	case vip.ClusterPods, vip.LocalPods:
		pods := d.pods()
		if len(pods) != 1 {
			return d.byClass("KUBE-INT-", r)
		}
		entry.source, entry.in = not(pods[0].source), not(pods[0].in)
	}
	name := d.draw(r, r.Policy.Of(vip.FromPod).Set)
	entry.target = markMasq.name
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
	for class, matches := range d.classes() {
		decision := r.Policy.Of(class)
		if r.Policy.Alike() && class != vip.FromOutside {
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
	complete := true // all in range were translated
	for class, matches := range d.classes() {
		action := r.Policy.Of(class).Action
		if action == vip.Forward {
			continue
		}
		complete = false
		if r.Policy.Alike() && class != vip.FromOutside {
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
	name, comment, target := "KUBE-FW-"+hash(d.port), "", drops
	if complete {
		comment = d.owner.String() + " traffic not accepted by " + name
	} else {
		target = d.withinRanges(r, name)
	}
	entry := at(r.Frontend)
	entry.comment = comment
	d.enter(firewall, entry, target)
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

// Render prints the rules for a table as iptables-restore and ip6tables-restore would take
// them on a host that has none.
func Render(host dataplane.Host, t *vip.Table) (string, error) {
	changes := t.Additions()
	var b strings.Builder
	for _, v4 := range []bool{true, false} {
		rules := newRuleset(&host, v4, false)
		rules.change(changes)
		b.WriteString(map[bool]string{true: "# iptables-restore\n", false: "# ip6tables-restore\n"}[v4])
		b.WriteString(rules.repair(listing{}, rules.tables()).String())
	}
	return b.String(), nil
}
