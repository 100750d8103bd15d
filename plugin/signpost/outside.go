package signpost

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// outsideSettings are the options about names for clients outside the cluster.
type outsideSettings struct {
	zones    []string // empty: there are none
	apex     string   // the label of the server's own name: see label
	headless bool     // headless Services have names too
	ttl      uint32   // seconds; used if set
	ttlSet   bool
}

// label is that below which the server's own name stands: ns1.LABEL.ZONE.
func (o *outsideSettings) label() string {
	if o.apex == "" {
		return "dns"
	}
	return o.apex
}

// addOutside adds the zones for clients outside the cluster to those of the
// stanza. A reverse zone may be of both.
func addOutside(zones []zone, o *outsideSettings) []zone {
	home := outsideHome(o.zones)
	for _, name := range o.zones {
		if i := indexZone(zones, name); i >= 0 {
			zones[i].outside = true
			continue
		}
		z := zone{name: name, reverse: isReverse(name), tree: outsideTree, outside: true}
		owner := name
		if z.reverse {
			owner = home
		}
		z.nameserver, z.mailbox = join("ns1."+o.label(), owner), join("hostmaster."+o.label(), owner)
		zones = append(zones, z)
	}
	return zones
}

// outsideHome is the first zone that is not a reverse zone: where PTR records point.
func outsideHome(zones []string) string {
	for _, name := range zones {
		if !isReverse(name) {
			return name
		}
	}
	return ""
}

func indexZone(zones []zone, name string) int {
	for i := range zones {
		if zones[i].name == name {
			return i
		}
	}
	return -1
}

// ttlIn is the TTL of records in a zone, in seconds.
func (s *Signpost) ttlIn(z *zone) uint32 {
	if z.tree == outsideTree && s.outside.ttlSet {
		return s.outside.ttl
	}
	return s.ttl
}

// outsideNode finds a name of a zone for clients outside the cluster, relative to
// the zone and in lower case: SERVICE.NAMESPACE, without svc.
func (s *Signpost) outsideNode(name string) node {
	rest, label := cutLast(name)
	own := s.outside.label()
	switch {
	case label == "":
		return node{kind: apex}
	case label == own && rest == "":
		return nodeEmpty
	case label == own && rest == "ns1":
		return node{kind: nameserver}
	case label == own:
		return nodeMissing
	case rest == "":
		return emptyIf(s.store.Namespace(label))
	}
	rest, service := cutLast(rest)
	e := s.store.Service(label, service)
	kind := s.outsideKind(e)
	if rest == "" || kind == missing {
		return node{kind: kind, entry: e, outside: kind != headless}
	}
	if kind == headless {
		return below(e, headless, rest)
	}
	n := below(e, clusterIP, rest) // by the ports of the Service
	if n.kind == endpoint {
		return nodeMissing // endpoints stand behind the address
	}
	n.outside = true
	return n
}

// outsideKind says what a Service publishes outside the cluster: its addresses
// there, else the name of its load balancer, else its endpoints where the option
// headless says so.
func (s *Signpost) outsideKind(e *cluster.Entry) nodeKind {
	switch {
	case e == nil || e.Service.Type == cluster.ExternalName:
		return missing
	case e.Service.External != nil && len(e.Service.External.IPs)+len(e.Service.External.LB) > 0:
		return clusterIP
	case e.Service.External != nil && len(e.Service.External.Hosts) > 0:
		return external
	case s.outside.headless && e.Service.Headless && e.HasReady():
		return headless
	}
	return missing
}

// addrs are those of a Service, in the cluster or outside.
func (n *node) addrs() []netip.Addr {
	if n.outside {
		return n.entry.Service.Outside()
	}
	return n.entry.Service.ClusterIPs
}

// target is where the CNAME of the node points, without a final dot: one place,
// because a name has at most one CNAME record (RFC 2181 §10.1).
func (n *node) target() string {
	if n.outside {
		return n.entry.Service.External.Hosts[0]
	}
	return n.entry.Service.External.Name
}

// balancerSRV answers SRV for the port of a Service whose load balancers have names
// only: it points at these.
func (s *Signpost) balancerSRV(n *node, q question) answer {
	var list []srv
	for _, host := range n.entry.Service.External.Hosts {
		for i := range n.entry.Service.Ports {
			p := &n.entry.Service.Ports[i]
			if record := (srv{dns.Fqdn(host), p.Number}); n.hasPort(p.Name, p.Protocol) && !slices.Contains(list, record) {
				list = append(list, record)
			}
		}
	}
	return answer{records: srvRecords(q.owner, s.ttlIn(q.zone), list)}
}

// outsideNames are the names of Services that have the address outside.
func (s *Signpost) outsideNames(a netip.Addr) []string {
	var names []string
	home := outsideHome(s.outside.zones)
	for o := s.store.OwnersOutside(a); o.Valid(); o = o.Next() {
		if e := o.Entry(); e != nil && e.Service.Type != cluster.ExternalName {
			names = append(names, join(e.Service.Name+"."+e.Service.Namespace, home))
		}
	}
	return fitting(names...)
}

// ownOutside are the addresses at which clients outside the cluster find this
// server, of one family.
func (s *Signpost) ownOutside(rrtype uint16) []netip.Addr {
	var addrs []netip.Addr
	found := false
	s.ownServices(func(e *cluster.Entry, ep *cluster.Endpoint) {
		found = true
		switch s.outsideKind(e) {
		case clusterIP:
			addrs = appendFamily(addrs, e.Service.Outside(), rrtype)
		case headless:
			addrs = appendFamily(addrs, []netip.Addr{ep.Addr}, rrtype)
		}
	})
	if !found {
		addrs = appendFamily(addrs, s.local, rrtype)
	}
	return addrs
}

// pointersIn returns the names that an address has by a reverse zone.
func (s *Signpost) pointersIn(z *zone, a netip.Addr) (names []string) {
	if z.inside {
		names = s.pointers(a)
		if name, has := s.importPointer(a); has && len(names) == 0 {
			names = []string{name}
		}
	}
	if z.outside {
		names = append(names, s.outsideNames(a)...)
	}
	return names
}
