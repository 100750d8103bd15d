package peer

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// qtypes are those that names have here, that clients ask everywhere, and one
// that nobody knows.
var qtypes = []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "MX", "NS", "SOA", "HTTPS", "ANY", "CAA"}

// suffixes are what the resolver of a pod in the namespace puts behind a name.
func suffixes(namespace string) []string {
	return []string{namespace + ".svc." + zone, "svc." + zone, zone}
}

// existing is every name of the written zone, in order.
func existing(z *spec) []string { return slices.Sorted(maps.Keys(z.names)) }

// odd are names that show what the peer does its own way, and what a server must
// not do: all are asked with every type.
func odd() []string {
	list := []string{
		"foo." + zone, "x.dns-version." + zone, "gone.svc." + zone, "gone.pod." + zone, "gone.ns.svc." + zone, "http.tcp.web.ns.svc." + zone,
		"_._.web.ns.svc." + zone, "a.b.c.web.ns.svc." + zone, "x.ext.ns.svc." + zone, "_http._tcp.ext.ns.svc." + zone, "extip.ns.svc." + zone,
		"1-2-3-4.ns.pod." + zone, "x.1-2-3-4.ns.pod." + zone, "blah.ns.pod." + zone, "1-2-3-4.gone.pod." + zone, "fd00--11.ns.pod." + zone,
		"172-16-3-1.vacant.pod." + zone, "010-16-3-1.ns.pod." + zone, "300-16-3-1.ns.pod." + zone, "x.172-16-3-1.ns.pod." + zone, "-.ns.pod." + zone,
		"fqdn.ns.svc." + zone, "172-16-3-2.shop.ns.svc." + zone, "shop.1.shop.ns.svc." + zone, "idle.ns.svc." + zone,
		"8.3.16.172.in-addr.arpa.", "9.3.16.172.in-addr.arpa.", "4.0.16.172.in-addr.arpa.", "1.2.16.172.in-addr.arpa.", "01.0.0.10.in-addr.arpa.", "x.1.0.0.10.in-addr.arpa.",
		"256.0.0.10.in-addr.arpa.", "11.in-addr.arpa.", "web.ns.svc.in-addr.arpa.", "1.1.0.d.f.ip6.arpa.", "dd.0.d.f.ip6.arpa.", "g.ip6.arpa.",
		`a\.svc.` + zone, `\000.ns.svc.` + zone, `\119eb.ns.svc.` + zone, "*.ns.svc." + zone, "*." + zone,
		"fd00-2-3-0-a--1.spelled.ns.svc." + zone, "ns.dns." + zone + zone, "x.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.",
	}
	for _, suffix := range suffixes("ns") {
		for _, name := range []string{"web.", "web.ns.", "web.ns.svc.", "www.example.com.", "api.eu.example.com.", "localhost.", "hdls."} {
			list = append(list, name+suffix)
		}
	}
	return list
}

// neighbours are names that may or may not exist: each existing one spelled
// another way, changed, made longer or shorter, or sent through a search list.
func neighbours(z *spec, r *rand.Rand) []string {
	var list []string
	for _, name := range existing(z) {
		first, rest, _ := strings.Cut(name, ".")
		list = append(list, mixedCase(name, r), "x."+name, rest)
		for range 2 {
			switch r.IntN(8) {
			case 0:
				list = append(list, "_x."+name)
			case 1:
				list = append(list, strings.ReplaceAll(name, "_", ""))
			case 2:
				list = append(list, "_tcp."+name, "_http._tcp."+name)
			case 3:
				list = append(list, first+"x."+rest)
			case 4:
				list = append(list, strings.TrimPrefix(first, first[:min(1, len(first))])+"x."+rest)
			case 5:
				list = append(list, name+suffixes("team-1")[r.IntN(3)])
			case 6:
				list = append(list, strings.ReplaceAll(name, "-", "."))
			case 7:
				list = append(list, "_."+rest)
			}
		}
	}
	slices.Sort(list)
	list = slices.DeleteFunc(list, func(n string) bool {
		_, valid := dns.IsDomainName(n)
		return !valid || n == ""
	})
	return slices.Compact(list)
}

func mixedCase(name string, r *rand.Rand) string {
	b := []byte(name)
	for i := range b {
		if b[i] >= 'a' && b[i] <= 'z' && r.IntN(2) == 0 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}
