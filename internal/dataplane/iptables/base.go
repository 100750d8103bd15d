package iptables

import (
	"fmt"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// A jump leads from a chain of the kernel's hooks to one of ours.
type jump struct {
	from chain
	rule rule
}

// jumps are all of them, in the order of their rules. What comes first is looked at first.
func jumps(loopback bool) []jump {
	portals, outside := "kubernetes service portals", "kubernetes externally-visible service portals"
	to := func(hook, table, comment, matches string, target chain) jump {
		return jump{chain{table, hook}, rule{comment: comment, matches: matches, target: target.name}}
	}
	list := []jump{
		to("PREROUTING", nat, portals, "", services),
		to("OUTPUT", nat, portals, "", services),
		to("POSTROUTING", nat, "kubernetes postrouting rules", "", postrouting),
	}
	for _, hook := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		list = append(list, to(hook, filter, "kubernetes load balancer firewall", matchNew, firewall))
		if hook == "INPUT" {
			list = append(list, to(hook, filter, "kubernetes health check service ports", "", healthChecks))
		}
		if hook == "FORWARD" {
			list = append(list, to(hook, filter, "kubernetes forwarding rules", "", forward))
		}
		list = append(list,
			to(hook, filter, portals, matchNew, refused), // also of a ClusterIP that the node has itself
			to(hook, filter, outside, matchNew, refusedElse),
		)
	}
	const unused = "kubernetes unused service ports" // not of the node's own addresses
	list = append(list,
		to("FORWARD", filter, unused, matchUntranslated, otherPorts),
		to("OUTPUT", filter, unused, matchUntranslated+" "+matchElsewhere, otherPorts))
	if loopback {
		for _, hook := range []string{"INPUT", "OUTPUT"} {
			list = append(list, jump{chain{filter, hook}, rule{target: kubeFirewall.name}})
		}
	}
	return list
}

// kubeFirewall is a chain that the kubelet has rules in, too.
var kubeFirewall = chain{filter, "KUBE-FIREWALL"}

// fixed are the chains that there are with any table: those with all their rules, and
// the ends of those that Services have lines in.
func fixed(h *dataplane.Host, v4 bool, liberal bool) map[chain][]string {
	mark := fmt.Sprintf("0x%x", h.MasqueradeMark)
	forwarding := []string{
		rule{comment: "kubernetes forwarding rules", matches: "-m mark --mark " + mark + "/" + mark, target: accepts}.String(),
		rule{comment: "kubernetes forwarding conntrack rule", matches: "-m conntrack --ctstate RELATED,ESTABLISHED", target: accepts}.String(),
	}
	if !liberal {
		forwarding = append(invalid(h, v4), forwarding...)
	}
	ours := []string{rule{comment: "a rule that is missed when others flush", target: returns}.String()}
	chains := map[chain][]string{
		markMasq: {rule{target: "MARK --set-xmark " + mark + "/" + mark}.String()},
		postrouting: {
			rule{matches: "-m mark ! --mark " + mark + "/" + mark, target: returns}.String(),
			rule{target: "MARK --set-xmark " + mark + "/0x0"}.String(),
			rule{comment: "kubernetes service traffic requiring SNAT", target: masquerades}.String(),
		},
		services: nil, nodePorts: nil, refused: nil, refusedElse: nil, refusedPorts: nil, otherPorts: nil,
		healthChecks: nil, firewall: nil, forward: forwarding, natCanary: ours, filterCanary: ours,
		reject: {
			rule{protocol: 6, target: rejects(v4, 6)}.String(),
			rule{target: rejects(v4, 0)}.String(),
		},
	}
	for _, m := range nodeAddrs(h, v4) {
		m.comment, m.target = "kubernetes service nodeports; NOTE: this must be the last rule in this chain", nodePorts.name
		chains[services] = append(chains[services], m.String())
		m.comment, m.target = "kubernetes service nodeports", refusedPorts.name
		chains[refusedElse] = append(chains[refusedElse], m.String())
	}
	if h.NodePortLoopback && v4 {
		chains[kubeFirewall] = []string{rule{
			source: "! 127.0.0.0/8", dest: "127.0.0.0/8", comment: "block incoming localnet connections",
			matches: "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", target: drops,
		}.String()}
	}
	return chains
}

// invalid drops what pods send that the kernel takes for no part of a flow: it does not
// translate that, so the client would get it from the pod's address, and reset the connection.
// kube-proxy drops it whoever sends it, and with it flows of which a node sees one half only. Where
// pods are told by an interface these are the pods of this node, and where they are not told nobody.
func invalid(h *dataplane.Host, v4 bool) []string {
	var rules []string
	for _, m := range podMatches(h, v4) {
		m.matches, m.target = "-m conntrack --ctstate INVALID", drops
		rules = append(rules, m.String())
	}
	return rules
}

// nodeAddrs match the addresses of this node that serve NodePorts.
func nodeAddrs(h *dataplane.Host, v4 bool) []rule {
	if v4 && h.NodePortAll4 || !v4 && h.NodePortAll6 {
		everywhere := rule{matches: matchLocal}
		switch {
		case !v4:
			everywhere.dest = "! ::1/128"
		case !h.NodePortLoopback:
			everywhere.dest = "! 127.0.0.0/8"
		}
		return []rule{everywhere}
	}
	var list []rule
	for _, a := range h.NodePortAddrs {
		if a.Is4() == v4 {
			list = append(list, rule{dest: host(a)})
		}
	}
	if v4 && h.NodePortLoopback {
		list = append(list, rule{dest: "127.0.0.0/8", matches: matchLocal})
	}
	return list
}
