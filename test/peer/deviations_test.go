package peer

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// deviation is a difference to the peer that we want, with its number in the
// plugin's README and the rule behind it.
type deviation struct {
	id, what, rule string
	holds          func(z *spec, q query, ours, theirs reply) bool
}

// deviations are looked through in this order.
var deviations = []deviation{
	{"D5", "SOA of a name that does not exist is NODATA",
		"RFC 2308 §2.1: a name that does not exist is NXDOMAIN whatever type is asked",
		func(_ *spec, q query, o, p reply) bool { return q.qtype == "SOA" && o.nxDomain() && p.noData() }},
	{"D13", "labels left of a pod's name are passed over",
		"RFC 8020 §2: nothing stands below a name unless a record says so",
		func(_ *spec, q query, o, p reply) bool {
			return below(q, ".pod."+zone, 2) && o.nxDomain() && !p.nxDomain()
		}},
	{"D14", "a pod has an SRV record with port 0",
		"Specification 1.1.0 knows no SRV for pods; RFC 2782: a port is where the service is found",
		func(_ *spec, q query, o, p reply) bool {
			return below(q, ".pod."+zone, 1) && (q.qtype == "SRV" || q.qtype == "ANY") && !p.nxDomain()
		}},
	{"D12", "dns-version has no other type, and says so by NXDOMAIN",
		"RFC 2308 §2.2: a name with records of another type is NODATA",
		func(_ *spec, q query, o, p reply) bool { return q.is("dns-version."+zone) && p.nxDomain() }},
	{"D10", "TXT at the apex is NXDOMAIN",
		"RFC 2308 §2.2; by RFC 8020 it would deny the whole zone",
		func(_ *spec, q query, o, p reply) bool {
			return apex(q) && q.qtype == "TXT" && o.noData() && p.nxDomain()
		}},
	{"B3", "NS where no Service leads to this server is NODATA",
		"RFC 1035 §6.1: an authoritative zone has NS records at its top",
		func(_ *spec, q query, o, p reply) bool { return apex(q) && q.qtype == "NS" && p.noData() }},
	{"D11", "NS and ns.dns are not found in mixed case",
		"RFC 4343 §3: names are compared without regard to case",
		func(_ *spec, q query, o, p reply) bool {
			return strings.HasSuffix(strings.ToLower(q.name), "ns.dns."+zone) && strings.ToLower(q.name) != q.name && p.nxDomain()
		}},
	{"D15", "types other than PTR at the reverse name of an address are NXDOMAIN",
		"RFC 2308 §2.2",
		func(_ *spec, q query, o, p reply) bool {
			return isAddress(q.name) && q.qtype != "PTR" && p.nxDomain() && (o.noData() || q.qtype == "ANY")
		}},
	{"D16", "SOA of reverse zones names a server that does not resolve",
		"RFC 1035 §3.3.13: MNAME is the name of the primary server",
		func(_ *spec, q query, o, p reply) bool {
			return apex(q) && strings.HasSuffix(strings.ToLower(q.name), ".arpa.") && len(p.answer) == 1 && strings.Contains(p.answer[0], "ns.dns.")
		}},
	{"B11", "a reverse name for endpoints of no Service, which nobody can read",
		"Specification 1.1.0 §2.3.3, §2.4.3: PTR of Services and their endpoints",
		func(_ *spec, q query, o, p reply) bool {
			return q.is("9.3.16.172.in-addr.arpa.") && o.nxDomain() && strings.HasPrefix(p.rcode, "no answer")
		}},
	{"P1", "reverse names of endpoints whose Service is not there, or is an ExternalName",
		"Specification 1.1.0 §2.4.3: PTR of endpoints of a Service",
		func(_ *spec, q query, o, p reply) bool {
			return isAddress(q.name) && q.qtype == "PTR" && len(o.answer) < len(p.answer)
		}},
	{"P2", "labels left of the reverse name of an IPv6 address are passed over",
		"RFC 3596 §2.5: the name of an address has 32 nibbles",
		func(_ *spec, q query, o, p reply) bool {
			return strings.HasSuffix(strings.ToLower(q.name), ".ip6.arpa.") && dns.CountLabel(q.name) > 32+2 && o.nxDomain()
		}},
	{"P3", "names that begin with ns.dns.ZONE exist, whatever follows",
		"RFC 1034 §4.3.2 step 3c: a name that matches nothing does not exist",
		func(_ *spec, q query, o, p reply) bool {
			return strings.HasPrefix(q.name, "ns.dns."+zone) && !q.is("ns.dns."+zone) && o.nxDomain()
		}},
	{"P4", "IPv6 addresses are compared as text",
		"RFC 5952 §1: one address has many texts; RFC 4291 §2.2",
		func(z *spec, q query, o, p reply) bool {
			name := strings.ToLower(q.name)
			label, _, _ := strings.Cut(name, ".")
			return strings.HasSuffix(name, "spelled.ns.svc."+zone) || isAddress(name) && strings.HasSuffix(name, ".0.3.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa.") ||
				z.pods == "verified" && below(q, ".pod."+zone, 1) && strings.HasSuffix(label, "--0")
		}},
	{"P5", "a pod that moved from one EndpointSlice to another is ready as long as either says so",
		"EndpointSlice API: consumers must be able to handle an endpoint in several slices at the same time; the newest knows its state",
		func(_ *spec, q query, o, p reply) bool {
			moved := strings.HasSuffix(strings.ToLower(q.name), "moved.ns.svc."+zone) || q.is("4.3.16.172.in-addr.arpa.")
			return moved && (len(o.answer) < len(p.answer) || o.nxDomain() && !p.nxDomain())
		}},
	{"ANY", "ANY is answered with the records that the peer withholds",
		"RFC 8482 §4.1: any one record set of the name will do",
		func(_ *spec, q query, o, p reply) bool {
			return q.qtype == "ANY" && len(o.answer) > 0 && (p.noData() || p.nxDomain())
		}},
	{"D1", "addresses at _port._protocol names",
		"Specification 1.1.0 §2.3.2: these names hold SRV records",
		func(_ *spec, q query, o, p reply) bool {
			return strings.HasPrefix(q.name, "_") && (q.qtype == "A" || q.qtype == "AAAA") && o.noData() && len(p.answer) > 0
		}},
	{"D3", "an underscore stands for any port, also for one without name",
		"Specification 1.1.0 §2.3.2: SRV of named ports only",
		func(_ *spec, q query, o, p reply) bool {
			return strings.HasPrefix(q.name, "_.") && o.nxDomain() && p.rcode == "NOERROR"
		}},
	{"D2", "ports without underscores",
		"RFC 2782: the labels of service and protocol begin with one",
		func(_ *spec, q query, o, p reply) bool {
			return below(q, ".svc."+zone, 3) && o.nxDomain() && p.rcode == "NOERROR"
		}},
	{"D6", "what the target of an ExternalName says is hidden",
		"RFC 6604 §3: the rcode is that of the last name of the chain",
		func(z *spec, q query, o, p reply) bool {
			return isExternal(z, q) && o.rcode != p.rcode && (q.qtype == "A" || q.qtype == "AAAA")
		}},
	{"D8", "the CNAME is left out where its target in the zone is empty",
		"RFC 1034 §4.3.2 step 3a: the CNAME is put into the answer",
		func(z *spec, q query, o, p reply) bool {
			return isExternal(z, q) && (q.qtype == "A" || q.qtype == "AAAA") && len(p.answer) < len(o.answer) || isExternal(z, q) && !o.soa
		}},
	{"D8b", "no SOA behind a CNAME whose target has no such record",
		"RFC 2308 §2.2: NODATA behind a CNAME has the SOA of the target's zone",
		func(z *spec, q query, o, p reply) bool {
			return isExternal(z, q) && (q.qtype == "A" || q.qtype == "AAAA") && o.soa && !p.soa && slices.Equal(o.answer, p.answer)
		}},
	{"D7", "other types than addresses hide the CNAME",
		"RFC 1034 §3.6.2: the CNAME is returned for every type but itself",
		func(z *spec, q query, o, p reply) bool {
			return isExternal(z, q) && q.qtype != "A" && q.qtype != "AAAA" && p.noData()
		}},
	{"D9", "TXT at inner nodes, and namespaces below pod, are NXDOMAIN",
		"RFC 8020 §2: a name with names below it exists",
		func(_ *spec, q query, o, p reply) bool {
			return o.noData() && p.nxDomain() && (q.qtype == "TXT" || below(q, ".pod."+zone, 0))
		}},
	{"D4", "names that only have names below them are NXDOMAIN",
		"RFC 8020 §2",
		func(_ *spec, q query, o, p reply) bool { return o.noData() && p.nxDomain() }},
	{"FQDN", "an EndpointSlice of host names makes CNAMEs of them",
		"EndpointSlice API: addressType FQDN has no meaning that DNS could give it",
		func(_ *spec, q query, o, p reply) bool {
			return strings.HasSuffix(strings.ToLower(q.name), "fqdn.ns.svc."+zone) && o.nxDomain()
		}},
	{"B10", "an endpoint is labelled by a pod name with dots, whose address is not found",
		"Specification 1.1.0 §2.4.2: the target of SRV resolves",
		func(z *spec, q query, o, p reply) bool {
			return z.podNames && (strings.Contains(strings.ToLower(q.name), "shop.ns.svc.") || q.is("2.3.16.172.in-addr.arpa."))
		}},
}

func (q query) is(name string) bool { return strings.EqualFold(q.name, name) }

// below reports whether the name has that many labels more than one left of suffix.
func below(q query, suffix string, labels int) bool {
	rest, ok := strings.CutSuffix(strings.ToLower(q.name), suffix)
	return ok && dns.CountLabel(rest) > labels
}

func apex(q query) bool { return q.is(zone) || q.is("in-addr.arpa.") || q.is("ip6.arpa.") }

// isAddress reports whether a reverse name spells a whole address.
func isAddress(name string) bool {
	name = strings.ToLower(name)
	labels := dns.CountLabel(name)
	return strings.HasSuffix(name, ".in-addr.arpa.") && labels == 4+2 || strings.HasSuffix(name, ".ip6.arpa.") && labels == 32+2
}

func isExternal(z *spec, q query) bool { return z.names[strings.ToLower(q.name)]["CNAME"] != nil }

// explain returns the number of the deviation that a difference is; empty if none.
func explain(z *spec, q query, ours, theirs reply) string {
	for _, d := range deviations {
		if d.holds(z, q, ours, theirs) {
			return d.id
		}
	}
	return ""
}
