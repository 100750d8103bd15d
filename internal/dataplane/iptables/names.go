package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A chain is a chain of one of the tables that we write.
type chain struct{ table, name string }

// The tables.
const (
	nat    = "nat"
	filter = "filter"
)

var (
	services     = chain{nat, "KUBE-SERVICES"}
	nodePorts    = chain{nat, "KUBE-NODEPORTS"}
	postrouting  = chain{nat, "KUBE-POSTROUTING"}
	markMasq     = chain{nat, "KUBE-MARK-MASQ"}
	refused      = chain{filter, "KUBE-SERVICES"}
	refusedElse  = chain{filter, "KUBE-EXTERNAL-SERVICES"}
	refusedPorts = chain{filter, "KUBE-REFUSED-NODEPORTS"}
	otherPorts   = chain{filter, "KUBE-OTHER-PORTS"}
	reject       = chain{filter, "KUBE-REJECT"}
	healthChecks = chain{filter, "KUBE-NODEPORTS"}
	firewall     = chain{filter, "KUBE-PROXY-FIREWALL"}
	forward      = chain{filter, "KUBE-FORWARD"}
	natCanary    = chain{nat, "KUBE-PROXY-CANARY"}
	filterCanary = chain{filter, "KUBE-PROXY-CANARY"}
	peerCanary   = chain{"mangle", "KUBE-PROXY-CANARY"} // kube-proxy's alone
)

// ofPorts begin the names of chains that belong to a Service port. Each kind leads to earlier ones only.
var ofPorts = []string{"KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-INT-", "KUBE-EXT-", "KUBE-FW-"}

// hash is the end of a chain's name: kube-proxy's, so that names stay the same.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

// portName is what the names of a Service port's chains are made of.
func portName(o vip.Owner, p cluster.Protocol) string { return o.String() + p.String() }

// backendName is the chain of one backend of a Service port.
func backendName(port string, b netip.AddrPort) string {
	return "KUBE-SEP-" + hash(port, b.String())
}
