//go:build linux

package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// family is an IP family.
type family uint8

const (
	ipv4 family = iota
	ipv6
)

var bothFamilies = []family{ipv4, ipv6}

func (f family) String() string { return [...]string{"ipv4", "ipv6"}[f] }

// block is a range of virtual addresses: they are on no interface. The number of
// an address is its last part in both families.
type block struct {
	word   string
	prefix [2]netip.Prefix // by family
}

var blocks = []block{
	{"cluster-ip", [2]netip.Prefix{netip.MustParsePrefix("10.96.0.0/24"), netip.MustParsePrefix("fd00:10:96::/120")}},
	{"external-ip", [2]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:51::/120")}},
	{"load-balancer", [2]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:113::/120")}},
}

// podNetworks take in the pods of all nodes; see package netlab.
var podNetworks = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")}

// serviceCIDRs are where ClusterIPs come from.
var serviceCIDRs = blocks[0].prefix[:]

// wideCIDRs are such ranges that a careless administrator chose: nodes and pods are in them.
var wideCIDRs = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("fd00::/16"),
}

// nodeNetworks take in the nodes; see package netlab.
var nodeNetworks = []netip.Prefix{netip.MustParsePrefix("172.30.0.0/24"), netip.MustParsePrefix("fd00:30::/64")}

// podBridge is the interface by which packets of pods come in; see package netlab.
const podBridge = "cbr0"

// sourceNetworks are those that a Service may let in, by their names.
var sourceNetworks = map[string][2]netip.Prefix{
	"everybody": {netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	"pods":      {podNetworks[0], podNetworks[1]},
	"nodes":     {netip.MustParsePrefix("172.30.0.0/27"), netip.MustParsePrefix("fd00:30::/123")}, // node-1 is .11, the host outside .250
	"outside":   {netip.MustParsePrefix("172.30.0.250/32"), netip.MustParsePrefix("fd00:30::fa/128")},
	"elsewhere": {netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:2::/48")},
}

// secondAddr is what is meant by node-1-second, and loopback by localhost.
var (
	secondAddr = [2]netip.Prefix{netip.MustParsePrefix("172.30.0.111/24"), netip.MustParsePrefix("fd00:30::111/64")}
	loopback   = [2]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
)

// anyNode stands in a route for every address of a node that serves NodePorts.
const anyNode = "node-port"

// virtual returns a virtual address by its name, such as cluster-ip-7, or false.
func virtual(name string, f family) (netip.Addr, bool) {
	for _, b := range blocks {
		text, ok := strings.CutPrefix(name, b.word+"-")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 254 || strconv.Itoa(n) != text {
			return netip.Addr{}, false
		}
		return nth(b.prefix[f], byte(n)), true
	}
	return netip.Addr{}, false
}

// nth is the address of a network whose last byte is n.
func nth(p netip.Prefix, n byte) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = n
	a, _ := netip.AddrFromSlice(b)
	return a
}

// kindOf is the word of a virtual address's name, or "".
func kindOf(name string) string {
	if _, ok := virtual(name, ipv4); !ok {
		return ""
	}
	return name[:strings.LastIndexByte(name, '-')]
}

// The hosts of the network, by the node that they are on.
var (
	nodeNames = []string{"node-1", "node-2"}
	zoneNames = []string{"zone-1", "zone-2"}
	podNames  = [][]string{
		{"client", "stranger", "local-1", "local-2", "local-3", "local-4", "local-5"},
		{"far-client", "remote-1", "remote-2", "remote-3", "remote-4"},
	}
)

const (
	outside    = "outside"
	stranger   = "stranger"
	nodeSecond = "node-1-second"
	localhost  = "localhost"
)

// podPorts are the ports on which pods and nodes answer.
var podPorts = []uint16{defaultTarget, 8081, 8082, 8083}

const defaultTarget = 8080

// morePorts lead to the servers on defaultTarget too. No scenario knows them.
var morePorts = []uint16{9080, 9081, 9082}

// home is the index of the node that a host is on, or is; -1 if none.
func home(host string) int {
	for i, node := range nodeNames {
		if host == node || slices.Contains(podNames[i], host) {
			return i
		}
	}
	if host == nodeSecond {
		return 0
	}
	return -1
}

// isNode reports whether the name is one of a node's addresses.
func isNode(name string) bool { return slices.Contains(nodeNames, name) || name == nodeSecond }

// isPod reports whether there is a pod of this name.
func isPod(name string) bool { return home(name) >= 0 && !isNode(name) }

// isClient reports whether a host can ask.
func isClient(name string) bool {
	return isPod(name) || slices.Contains(nodeNames, name) || name == outside
}

// destination is what a client dials, or a frontend: an address by its name, and a port.
type destination struct {
	host string
	port uint16
}

func (d destination) String() string { return fmt.Sprintf("%s:%d", d.host, d.port) }
