package ipvs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A virtual is what names a virtual server: an address with protocol and port, or
// else a firewall mark in one family.
type virtual struct {
	vip.Frontend
	mark uint32
	v4   bool
}

// at is the virtual server at a place: an address that packets are sent to, with port.
func at(place vip.Frontend) virtual { return virtual{Frontend: place, v4: place.Addr.Is4()} }

func (v virtual) compare(w virtual) int {
	return cmp.Or(cmp.Compare(v.mark, w.mark), v.Compare(w.Frontend))
}

// String names it as ipvsadm -S does: -t 10.96.12.34:80.
func (v virtual) String() string {
	switch {
	case v.mark != 0 && v.v4:
		return fmt.Sprintf("-f %d", v.mark)
	case v.mark != 0:
		return fmt.Sprintf("-f %d -6", v.mark)
	}
	flag := map[cluster.Protocol]string{cluster.TCP: "-t", cluster.UDP: "-u", cluster.SCTP: "--sctp-service"}[v.Protocol]
	return flag + " " + netip.AddrPortFrom(v.Addr, v.Port).String()
}

// settings are what virtual servers differ in.
type settings struct {
	scheduler string
	affinity  uint32 // seconds; 0: none
}

// A server is a virtual server: how it schedules, and among whom. The backends are sorted.
type server struct {
	settings
	backends []netip.AddrPort
	datagram bool // it is for UDP, also where a firewall mark names it; not known of one that was read
}

// drains reports whether a backend that goes may end what it began, with weight 0. A datagram
// belongs to nothing that ends, and dh would go on choosing a backend of weight 0.
func (s server) drains() bool { return !s.datagram && s.scheduler != "dh" }

// text is the server as ipvsadm -S -n prints it.
func (s server) text(v virtual) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-A %v -s %s", v, s.scheduler)
	if s.affinity > 0 {
		fmt.Fprintf(&b, " -p %d", s.affinity)
	}
	if f := flagNames[s.flags()]; f != "" {
		fmt.Fprintf(&b, " -b %s", f)
	}
	b.WriteByte('\n')
	for _, r := range s.backends {
		fmt.Fprintf(&b, "-a %v -r %v -m -w 1\n", v, r)
	}
	return b.String()
}

// Flags of a virtual server (linux/ip_vs.h).
const (
	flagPersistent = 0x0001
	flagFallback   = 0x0008 // of sh and mh: another backend where the chosen one has weight 0
	flagsKnown     = flagPersistent | flagFallback | 0x0004 | 0x0010 | 0x0020
)

var flagNames = map[uint32]string{flagFallback: "flag-1", flagFallback | flagPersistent: "flag-1"}

// flags are those of the virtual server's settings.
func (s settings) flags() uint32 {
	var f uint32
	if s.affinity > 0 {
		f |= flagPersistent
	}
	if s.scheduler == "sh" || s.scheduler == "mh" {
		f |= flagFallback
	}
	return f
}

// backendsOf are the addresses of a set of backends.
func backendsOf(list []vip.Backend) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(list))
	for i, b := range list {
		addrs[i] = b.AddrPort
	}
	return addrs
}

// without are the items of a sorted list that are not in another.
func without(list, other []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(list), func(b netip.AddrPort) bool {
		_, found := slices.BinarySearchFunc(other, b, netip.AddrPort.Compare)
		return found
	})
}
