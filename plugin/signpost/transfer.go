package signpost

import (
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"net/netip"
	"time"

	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Transfer implements transfer.Transferer. It sends the records of a zone between two SOA
// records, or only the SOA record if the client's serial is not older (RFC 5936, RFC 1995
// §4). There is no history, so a changed zone is sent as a whole.
//
// The records are the answers to queries for every name that exists, so a secondary gives
// the same answers. The walk is not a snapshot: it may contain later changes already, and
// the secondary fetches them again under their own serial. The names of pods insecure,
// which are unlimited, and the _zone names are not in it.
func (s *Signpost) Transfer(name string, serial uint32) (<-chan []dns.RR, error) {
	z := s.zoneNamed(name)
	if z == nil {
		return nil, transfer.ErrNotAuthoritative
	}
	if !s.store.Synced() {
		return nil, fmt.Errorf("transfer of %s: the index is not synced yet", name)
	}
	q := s.newQuestion(z.name, dns.TypeSOA)
	soa := s.soa(&q)
	ch := make(chan []dns.RR)
	go func() { // ends: the plugin transfer always reads to the end
		defer close(ch)
		ch <- []dns.RR{&soa}
		if serial != 0 && int32(serial-soa.Serial) >= 0 { // RFC 1982
			return
		}
		for rrs := range s.zoneRecords(z) {
			ch <- rrs
		}
		ch <- []dns.RR{&soa}
	}()
	return ch, nil
}

// zoneRecords yields the records of each name of a zone, without its SOA record.
func (s *Signpost) zoneRecords(z *zone) iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		for name := range s.names(z) {
			q := s.newQuestion(name, dns.TypeNone)
			if q.zone != z {
				continue // in a zone of its own below this one
			}
			var rrs []dns.RR
			n := s.find(&q)
			q.limit = math.MaxInt
			for _, q.qtype = range nodeTypes[n.kind] {
				if q.qtype != dns.TypeSOA {
					rrs = append(rrs, s.records(&n, q).records...)
				}
			}
			if len(rrs) > 0 && !yield(rrs) {
				return
			}
		}
	}
}

// names yields the full name of everything in a zone that may have records. Some names have
// none: find decides what exists.
func (s *Signpost) names(z *zone) iter.Seq[string] {
	return func(yield func(string) bool) {
		if z.reverse {
			if yield(z.name) {
				s.reverseNames(z, yield)
			}
			return
		}
		in := func(relative string) bool {
			name := join(relative, z.name)
			return !fits(name) || yield(name)
		}
		own, tree := "ns.dns", ".svc"
		if z.tree == outsideTree {
			own, tree = "ns1."+s.outside.label(), ""
		}
		ok := yield(z.name) && in(own) && in("dns-version")
		for e := range s.index(z).Services() {
			ok = ok && serviceNames(e, tree, in)
		}
		if s.pods == podsVerified && z.tree == clusterTree {
			ok = ok && s.podNames(in)
		}
		if ok && z.name == "." {
			s.reverseNames(z, yield)
		}
	}
}

// podNames passes the names of all pods to in, until it returns false.
func (s *Signpost) podNames(in func(string) bool) bool {
	for p := range s.store.Pods() {
		for _, a := range p.Addrs {
			if !in(string(appendDashed(nil, a)) + "." + p.Namespace + ".pod") {
				return false
			}
		}
	}
	return true
}

// serviceNames passes the names of a Service, its ports and its endpoints to in, until it
// returns false.
func serviceNames(e *cluster.Entry, tree string, in func(string) bool) bool {
	base := e.Service.Name + "." + e.Service.Namespace + tree
	if !in(base) {
		return false
	}
	seen := map[string]bool{"": true}
	once := func(label string) bool {
		if seen[label] {
			return true
		}
		seen[label] = true
		return in(label + "." + base)
	}
	port := func(name string, p cluster.Protocol) bool {
		return name == "" || once("_"+name+"._"+p.String())
	}
	for i := range e.Service.Ports {
		if p := &e.Service.Ports[i]; !port(p.Name, p.Protocol) {
			return false
		}
	}
	for _, slice := range e.Slices {
		for i := range slice.Ports {
			if p := &slice.Ports[i]; !port(p.Name, p.Protocol) {
				return false
			}
		}
	}
	for _, slice := range e.Slices {
		for i := range slice.Endpoints {
			ep, label := &slice.Endpoints[i], endpointLabel(&slice.Endpoints[i])
			if id := slice.Cluster.String(); id != "" {
				label += "." + id
			}
			if ep.Has(cluster.Ready) && !once(label) {
				return false
			}
		}
	}
	return true
}

// reverseNames yields the names of all addresses in a reverse zone, or in the root.
func (s *Signpost) reverseNames(z *zone, yield func(string) bool) {
	in := func(a netip.Addr) bool {
		name, err := dns.ReverseAddr(a.String())
		return err != nil || yield(name)
	}
	for _, p := range z.prefixes() {
		for a := range s.store.AddressesIn(p) {
			if z.inside && !in(a) {
				return
			}
		}
		for a := range s.store.OutsideIn(p) {
			if z.outside && !(z.inside && s.store.Owners(a).Valid()) && !in(a) { // once
				return
			}
		}
		for a := range s.store.Imports().AddressesIn(p) {
			seen := s.store.Owners(a).Valid() || z.outside && s.store.OwnersOutside(a).Valid()
			if z.inside && len(s.clusterset) > 0 && !seen && !in(a) {
				return
			}
		}
	}
}

// prefixes are the addresses whose names lie in the zone.
func (z *zone) prefixes() []netip.Prefix {
	v4, v6 := netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	switch {
	case z.name == ".":
		return []netip.Prefix{v4, v6}
	case z.name == "in-addr.arpa.":
		return []netip.Prefix{v4}
	case z.name == "ip6.arpa.":
		return []netip.Prefix{v6}
	}
	if p, ok := parseReverse(z.name); ok {
		return []netip.Prefix{p}
	}
	return nil // such as 0/25.0.0.10.in-addr.arpa (RFC 2317)
}

// notifyEvery is the shortest time between two notifications. Clusters change many times a
// second, and each NOTIFY may fetch a zone.
const notifyEvery = 2 * time.Second

// notifyShare bounds the time spent on comparing zones: one part in so many.
const notifyShare = 20

// notified is the state of a zone when its secondaries were notified last.
type notified struct {
	serial uint64
	digest uint64
	once   bool // they were
}

// notify notifies the secondaries that the plugin transfer lists when a zone has
// changed (RFC 1996), until stop is closed. The first time is the first sync.
func (s *Signpost) notify(send func(zone string) error, stop <-chan struct{}) {
	last := make([]notified, len(s.zones))
	seed, failing := maphash.MakeSeed(), false
	for pause := notifyEvery; ; {
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		begin, changed := time.Now(), []string(nil)
		for i := range s.zones {
			if z := &s.zones[i]; s.store.Synced() && s.differs(z, &last[i], seed) {
				changed = append(changed, z.name)
			}
		}
		pause = max(notifyEvery, notifyShare*time.Since(begin))
		var failed error
		for _, zone := range changed {
			if err := send(zone); err != nil {
				failed = err
			}
		}
		if failed != nil && !failing {
			log.Warningf("notifying secondaries that a zone changed: %v; they check again after the refresh time", failed)
		}
		failing = failed != nil
	}
}

// differs reports whether the records of a zone have changed since secondaries were
// notified, and updates last. The serial alone does not say so: it rises with any name of
// the cluster, and most changes concern some zones only.
func (s *Signpost) differs(z *zone, last *notified, seed maphash.Seed) bool {
	now := notified{serial: s.serial(z), once: true}
	if last.once && now.serial == last.serial {
		return false
	}
	now.digest = s.digest(z, seed)
	differ := !last.once || now.digest != last.digest
	*last = now
	return differ
}

// digest returns a hash of the records of a zone that does not depend on their order.
func (s *Signpost) digest(z *zone, seed maphash.Seed) (sum uint64) {
	buf := make([]byte, dns.MaxMsgSize)
	for rrs := range s.zoneRecords(z) {
		for _, rr := range rrs {
			if n, err := dns.PackRR(rr, buf, 0, nil, false); err == nil {
				sum += maphash.Bytes(seed, buf[:n])
			}
		}
	}
	return sum
}
