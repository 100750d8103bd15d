package main

import (
	"fmt"
	"net/netip"
)

// The plan of the cluster: names and addresses. All of them live in private network namespaces, so they are
// the same for every cluster on every machine.
const (
	outsideName = "outside" // the bridge, and whoever is no member of the cluster
	controlName = "control" // the control plane; not a node

	serviceRanges = "10.96.0.0/16,fd00:10:96::/112"
	dnsAddress    = "10.96.0.10" // manifests/coredns/service.yaml
	clusterDomain = "cluster.local"

	apiPort      = 6443
	registryPort = 5000
)

// firstServices are the addresses of the Service default/kubernetes: the first of each range.
var firstServices = []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:10:96::1")}

// member is a host of the cluster's network.
type member struct {
	name string
	v4   netip.Addr
	v6   netip.Addr
	// Of nodes only: where the addresses of its pods come from.
	pods4, pods6 netip.Prefix
}

func (m member) isNode() bool { return m.pods4.IsValid() }

var (
	outside = member{name: outsideName, v4: netip.MustParseAddr("172.30.0.1"), v6: netip.MustParseAddr("fd00:30::1")}
	control = member{name: controlName, v4: netip.MustParseAddr("172.30.0.10"), v6: netip.MustParseAddr("fd00:30::10")}
)

// nodeNames are the nodes of this process's cluster. Two are enough for people: with one, "on another node"
// cannot be tested. Some of upstream's specs want three, each in a zone of its own.
var nodeNames = namesOfNodes(2)

// namesOfNodes returns the names of some nodes: n1, n2, …
func namesOfNodes(count int) []string {
	var names []string
	for i := range count {
		names = append(names, fmt.Sprint("n", i+1))
	}
	return names
}

// mostNodes is how many there may be: their addresses end in 11 to 19.
const mostNodes = 9

// nodes returns the plan of each node.
func nodes() []member {
	var all []member
	for i, name := range nodeNames {
		all = append(all, member{
			name:  name,
			v4:    netip.MustParseAddr(fmt.Sprintf("172.30.0.%d", 11+i)),
			v6:    netip.MustParseAddr(fmt.Sprintf("fd00:30::%d", 11+i)),
			pods4: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", 1+i)),
			pods6: netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", 1+i)),
		})
	}
	return all
}

// nodeNamed finds a node by its name.
func nodeNamed(name string) (member, bool) {
	for _, n := range nodes() {
		if n.name == name {
			return n, true
		}
	}
	return member{}, false
}

// wiring returns the lines for `ip -batch` in a member's own network namespace: addresses, and a route to the
// pods of every other node. Everything else goes to the outside.
func (m member) wiring() []string {
	lines := []string{
		"link set lo up",
		fmt.Sprintf("addr add %s/24 dev eth0", m.v4),
		fmt.Sprintf("addr add %s/64 dev eth0 nodad", m.v6),
		"link set eth0 up",
		fmt.Sprintf("route add default via %s", outside.v4),
		fmt.Sprintf("route add ::/0 via %s", outside.v6),
	}
	return append(lines, podRoutes(m.name)...)
}

// podRoutes leads to the pods of all nodes but one.
func podRoutes(but string) []string {
	var lines []string
	for _, n := range nodes() {
		if n.name != but {
			lines = append(lines,
				fmt.Sprintf("route add %s via %s", n.pods4, n.v4),
				fmt.Sprintf("route add %s via %s", n.pods6, n.v6))
		}
	}
	return lines
}

// switchWiring returns the lines for the namespace of the bridge, which is the outside at the same time.
func switchWiring() []string {
	lines := []string{
		"link set lo up",
		"link add br0 type bridge forward_delay 0 stp_state 0",
		fmt.Sprintf("addr add %s/24 dev br0", outside.v4),
		fmt.Sprintf("addr add %s/64 dev br0 nodad", outside.v6),
		"link set br0 up",
	}
	return append(lines, podRoutes("")...)
}
