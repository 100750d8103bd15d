package iptables

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A rule is a rule without its chain, as iptables-save prints it: addresses, interfaces
// and protocol, then matches, then the target. The zero rule matches everything.
type rule struct {
	source, dest string // "" or "10.0.0.0/8", with "! " before it where it must not match
	in           string
	protocol     cluster.Protocol
	comment      string
	port         uint16
	matches      string
	target       string
}

// String prints the rule.
func (r rule) String() string {
	var b strings.Builder
	word := func(flag, value string) {
		if value == "" {
			return
		}
		if rest, not := strings.CutPrefix(value, "! "); not {
			b.WriteString("! ")
			value = rest
		}
		b.WriteString(flag + " " + value + " ")
	}
	word("-s", r.source)
	word("-d", r.dest)
	word("-i", r.in)
	if r.protocol != 0 {
		word("-p", r.protocol.String())
	}
	if r.comment != "" {
		fmt.Fprintf(&b, "-m comment --comment %q ", r.comment)
	}
	if r.port != 0 {
		fmt.Fprintf(&b, "-m %v --dport %d ", r.protocol, r.port)
	}
	if r.matches != "" {
		b.WriteString(r.matches + " ")
	}
	return b.String() + "-j " + r.target
}

// at is the part of a rule that matches a frontend. A NodePort has no address here.
func at(f vip.Frontend) rule {
	r := rule{protocol: f.Protocol, port: f.Port}
	if !f.IsNodePort() {
		r.dest = host(f.Addr)
	}
	return r
}

// frontendOf is the inverse of at: the frontend that a rule matches, without an address that of a NodePort.
func frontendOf(rule string, v4 bool) (f vip.Frontend, ok bool) {
	f.Addr = vip.AnyNode6
	if v4 {
		f.Addr = vip.AnyNode4
	}
	list := words(rule)
	for i, word := range list[:max(0, len(list)-1)] {
		switch value := list[i+1]; word {
		case "-d":
			network, err := netip.ParsePrefix(value)
			if err != nil || !network.IsSingleIP() {
				return f, false
			}
			f.Addr = network.Addr()
		case "-p":
			f.Protocol = protocols[value]
		case "--dport":
			port, _ := strconv.ParseUint(value, 10, 16) // 0 for a range
			f.Port = uint16(port)
		}
	}
	return f, f.Port != 0 && f.Protocol != 0
}

var protocols = map[string]cluster.Protocol{"tcp": cluster.TCP, "udp": cluster.UDP, "sctp": cluster.SCTP}

// host is an address as a network of one.
func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// Matches and targets.
const (
	matchNew          = "-m conntrack --ctstate NEW"
	matchLocal        = "-m addrtype --dst-type LOCAL"
	matchElsewhere    = "-m addrtype ! --dst-type LOCAL"
	matchUntranslated = matchNew + " -m conntrack ! --ctstate DNAT"
	fromLocal         = "-m addrtype --src-type LOCAL"
	returns           = "RETURN"
	drops             = "DROP"
	accepts           = "ACCEPT"
	masquerades       = "MASQUERADE --random-fully"
)

// rejects is the target that refuses a protocol: TCP by a reset, for the kernel sends few
// ICMP messages.
func rejects(v4 bool, p cluster.Protocol) string {
	switch {
	case p == cluster.TCP:
		return "REJECT --reject-with tcp-reset"
	case v4:
		return "REJECT --reject-with icmp-port-unreachable"
	}
	return "REJECT --reject-with icmp6-port-unreachable"
}

// oneIn matches one of n packets, as the kernel keeps the number and prints it: in 2^31sts.
func oneIn(n int) string {
	const steps = 1 << 31
	return fmt.Sprintf("-m statistic --mode random --probability %.11f", math.Round(steps/float64(n))/steps)
}

// recent matches clients that met a backend within so many seconds, or notes that one does.
func recent(list string, v4 bool, what string) string {
	mask := "255.255.255.255"
	if !v4 {
		mask = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	}
	return fmt.Sprintf("-m recent %s --name %s --mask %s --rsource", what, list, mask)
}
