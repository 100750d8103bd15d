//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
)

// Config says what a [Lab] looks like.
type Config struct {
	Nodes    int  // how many nodes, 1 to 200
	IPv4Only bool // leave out IPv6 even where the kernel has it
}

// A Lab is a small network of hosts; the package documentation has a picture. Its methods may be called concurrently.
type Lab struct {
	Nodes   []*Node
	Outside *Host // knows only the network of the nodes
	Switch  *Host // connects them; runs nothing

	plan plan
}

// A Node is a host that forwards for its pods.
type Node struct {
	*Host
	Number int // from 1
	// PodCIDR4 and PodCIDR6 are the networks of its pods; PodCIDR6 is the zero Prefix without IPv6.
	PodCIDR4, PodCIDR6 netip.Prefix

	plan plan
	mu   sync.Mutex
	pods map[*Host]string // to the name of its port on the bridge
	last int              // last part of the address given out last
}

const podBridge = "cbr0"

// Build makes a lab. The process must be inside a [Sandbox].
func Build(config Config) (*Lab, error) {
	if !Inside() {
		return nil, errors.New("build lab: this process is not in a sandbox: expected netlab.Enter in TestMain, or Sandbox.Run")
	}
	if config.Nodes < 1 || config.Nodes > maxNodes {
		return nil, fmt.Errorf("build lab: %d nodes asked for, expected 1 to %d", config.Nodes, maxNodes)
	}
	l := &Lab{plan: plan{ipv6: !config.IPv4Only && exists("/proc/sys/net/ipv6")}}
	if err := l.build(config.Nodes); err != nil {
		l.Close()
		return nil, fmt.Errorf("build lab: %w", err)
	}
	return l, nil
}

func (l *Lab) build(nodes int) error {
	if err := l.addSwitch(); err != nil {
		return err
	}
	var err error
	if l.Outside, err = l.attach("outside", l.plan.fabric().host(outsideHost)); err != nil {
		return err
	}
	for number := 1; number <= nodes; number++ {
		if err := l.addNode(number); err != nil {
			return err
		}
	}
	return l.connectPodNetworks()
}

func (l *Lab) addSwitch() error {
	at := l.plan.fabric().host(switchHost)
	var err error
	if l.Switch, err = newHost("switch", at.v4.Addr(), at.v6.Addr()); err != nil {
		return err
	}
	if err := l.Switch.tune(false); err != nil {
		return err
	}
	// Frames that only pass through are not this host's business; the file is there if br_netfilter is.
	if exists("/proc/sys/net/bridge/bridge-nf-call-iptables") {
		err = errors.Join(l.Switch.Sysctl("net.bridge.bridge-nf-call-iptables", "0"),
			l.Switch.Sysctl("net.bridge.bridge-nf-call-ip6tables", "0"))
	}
	return errors.Join(err, l.Switch.addBridge("br0", bridgeMAC(at.v4.Addr())), l.Switch.addSubnet("br0", at))
}

// attach adds a host to the switch.
func (l *Lab) attach(name string, at subnet) (*Host, error) {
	h, err := newHost(name, at.v4.Addr(), at.v6.Addr())
	if err != nil {
		return nil, err
	}
	err = errors.Join(h.tune(false), l.Switch.plug(h, "br0", name, false), h.addSubnet("eth0", at))
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (l *Lab) addNode(number int) error {
	h, err := l.attach("node-"+strconv.Itoa(number), l.plan.fabric().host(nodeHost+number))
	if err != nil {
		return err
	}
	pods := l.plan.pods(number)
	n := &Node{
		Host: h, Number: number, PodCIDR4: pods.v4, PodCIDR6: pods.v6,
		plan: l.plan, pods: map[*Host]string{}, last: firstPodHost - 1,
	}
	l.Nodes = append(l.Nodes, n)
	gateway := pods.host(1)
	return errors.Join(
		h.tune(true),
		h.addBridge(podBridge, bridgeMAC(gateway.v4.Addr())),
		h.addSubnet(podBridge, gateway),
		// What is routed nowhere else, such as a virtual address before it is translated, needs a route to be sent at all.
		h.route(l.plan.everywhere(), l.plan.fabric().host(switchHost)),
	)
}

// connectPodNetworks tells every node by which node the pods of the others are reached.
func (l *Lab) connectPodNetworks() error {
	for _, n := range l.Nodes {
		for _, other := range l.Nodes {
			if other == n {
				continue
			}
			if err := n.route(l.plan.pods(other.Number), l.plan.fabric().host(nodeHost+other.Number)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Node returns a node by its number, from 1.
func (l *Lab) Node(number int) *Node { return l.Nodes[number-1] }

// HasIPv6 reports whether the hosts have IPv6 addresses.
func (l *Lab) HasIPv6() bool { return l.plan.ipv6 }

// Close ends every host and what runs there.
func (l *Lab) Close() {
	for _, n := range l.Nodes {
		n.closePods()
	}
	for _, h := range l.hosts() {
		h.Close()
	}
}

func (l *Lab) hosts() []*Host {
	var hosts []*Host
	for _, n := range l.Nodes {
		hosts = append(hosts, n.Host)
	}
	for _, h := range []*Host{l.Outside, l.Switch} {
		if h != nil {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// tune makes the host's network the same on every machine: a new network namespace inherits some settings from the first.
// A host that forwards never sends redirects: they would spend the budget of ICMP messages that a reject needs.
func (h *Host) tune(forward bool) error {
	on := map[bool]string{false: "0", true: "1"}[forward]
	settings := [][2]string{
		{"net.ipv4.ip_forward", on},
		{"net.ipv4.conf.all.rp_filter", "0"}, {"net.ipv4.conf.default.rp_filter", "0"},
		{"net.ipv4.conf.all.send_redirects", "0"}, {"net.ipv4.conf.default.send_redirects", "0"},
	}
	if h.IPv6.IsValid() {
		for _, scope := range []string{"all", "default"} {
			settings = append(settings,
				[2]string{"net.ipv6.conf." + scope + ".disable_ipv6", "0"},
				[2]string{"net.ipv6.conf." + scope + ".accept_ra", "0"},
				[2]string{"net.ipv6.conf." + scope + ".accept_dad", "0"},
				[2]string{"net.ipv6.conf." + scope + ".forwarding", on})
		}
	}
	for _, s := range settings {
		if err := h.Sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) addSubnet(link string, at subnet) error {
	return errors.Join(h.addAddr(link, at.v4), h.addAddr(link, at.v6))
}

func (h *Host) route(to, gateway subnet) error {
	return errors.Join(h.addRoute(to.v4, gateway.v4.Addr()), h.addRoute(to.v6, gateway.v6.Addr()))
}
