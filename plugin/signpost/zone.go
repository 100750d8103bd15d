package signpost

import (
	"slices"
	"strings"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// zone is one origin that the stanza serves.
type zone struct {
	name    string // lower case, with the final dot
	reverse bool   // names are addresses
	tree    tree
	// Reverse names lead to the names of the cluster, to those outside, or both.
	inside, outside bool

	// What its SOA and NS records say. Reverse zones use the names of the primary
	// zone, because those resolve.
	nameserver, mailbox string
}

// tree is the kind of names in a zone.
type tree uint8

const (
	clusterTree    tree = iota // SERVICE.NAMESPACE.svc, of this cluster
	outsideTree                // SERVICE.NAMESPACE, for clients outside
	clustersetTree             // SERVICE.NAMESPACE.svc, of a set of clusters: see index
)

// makeZones turns origins into zones. The first that is not a reverse zone is the
// primary one, below which PTR records point; nil if there is none.
func makeZones(origins []string) (zones []zone, primary *zone) {
	zones = make([]zone, len(origins))
	for i, name := range origins {
		zones[i] = zone{name: name, reverse: isReverse(name), inside: true}
		if primary == nil && !zones[i].reverse {
			primary = &zones[i]
		}
	}
	for i := range zones {
		z := &zones[i]
		home := z.name
		if z.reverse && primary != nil {
			home = primary.name
		}
		z.nameserver, z.mailbox = join("ns.dns", home), join("hostmaster", home)
	}
	return zones, primary
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

// outsideHome returns the first zone that is not a reverse zone: PTR records point there.
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

// markClusterset marks the zones of a set of clusters.
func markClusterset(zones []zone, names []string) {
	for i := range zones {
		if slices.Contains(names, zones[i].name) {
			zones[i].tree = clustersetTree
		}
	}
}

// clustersetHome returns the first zone of a set of clusters, where PTR records point;
// nil if there is none.
func (s *Signpost) clustersetHome() *zone {
	if len(s.clusterset) == 0 {
		return nil
	}
	return s.zoneNamed(s.clusterset[0])
}

// index returns the index that holds the Services of a zone.
func (s *Signpost) index(z *zone) *cluster.Store {
	if z.tree == clustersetTree {
		return s.store.Imports()
	}
	return s.store
}

// isReverse reports whether a lower-case name stands for an address or a prefix.
func isReverse(name string) bool {
	for _, tree := range []string{"in-addr.arpa.", "ip6.arpa."} {
		if rest, ok := strings.CutSuffix(name, tree); ok && (rest == "" || rest[len(rest)-1] == '.') {
			return true
		}
	}
	return false
}

// join appends a zone to a relative name; the root zone is only a dot.
func join(relative, zone string) string {
	if zone == "." {
		return relative + zone
	}
	return relative + "." + zone
}

// service returns the full name of a Service in the zone.
func (z *zone) service(k cluster.Key) string {
	var buf [longestName]byte
	return string(z.appendService(buf[:0], k))
}

// appendService appends the full name of a Service in the zone.
func (z *zone) appendService(dst []byte, k cluster.Key) []byte {
	dst = append(append(append(dst, k.Name...), '.'), k.Namespace...)
	if z.tree != outsideTree {
		dst = append(dst, ".svc"...)
	}
	if dst = append(dst, '.'); z.name == "." {
		return dst
	}
	return append(dst, z.name...)
}

// spelledIn returns the zone's name with the case that it has at the end of name.
func (z *zone) spelledIn(name string) string {
	if len(name) < len(z.name) {
		return z.name
	}
	return name[len(name)-len(z.name):]
}

// relative returns what stands to the left of the zone in a lower-case name,
// without the dot between; ok is false if the name is not in the zone.
func (z *zone) relative(name string) (rest string, ok bool) {
	if z.name == "." {
		return strings.TrimSuffix(name, "."), true
	}
	rest, ok = strings.CutSuffix(name, z.name)
	if !ok || rest == "" {
		return rest, ok
	}
	if rest[len(rest)-1] != '.' || endsEscaped(rest[:len(rest)-1]) {
		return "", false // "xcluster.local." or `x\.cluster.local.`, one label with a dot in it
	}
	return rest[:len(rest)-1], true
}

// endsEscaped reports whether a backslash at the end of s escapes what follows (RFC 1035 §5.1).
func endsEscaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// match returns the most specific zone that holds a lower-case name, and the
// part of the name to the left of it; nil if no zone does.
func match(zones []zone, name string) (best *zone, rest string) {
	for i := range zones {
		z := &zones[i]
		if best != nil && len(z.name) <= len(best.name) {
			continue
		}
		if r, ok := z.relative(name); ok {
			best, rest = z, r
		}
	}
	return best, rest
}

// zoneNamed returns the zone with exactly this lower-case name, or nil.
func (s *Signpost) zoneNamed(name string) *zone {
	if i := indexZone(s.zones, name); i >= 0 {
		return &s.zones[i]
	}
	return nil
}

// cutLast splits off the rightmost label of a relative name.
func cutLast(name string) (rest, label string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// longestName is the largest number of characters in a name, with its final dot. A message
// takes one octet more for it (RFC 1035 §2.3.4). No name of Kubernetes has an escape.
const longestName = 254

// longestRelative is the largest number of characters before the zone in the name of an
// endpoint of this cluster: three labels of 63 characters and svc, each with its dot.
const longestRelative = 3*(63+1) + len("svc.")

// fits reports whether a name can be in a message. A name that does not fit is left out,
// because it would make the whole answer invalid.
func fits(name string) bool { return len(name) <= longestName }

// tight reports whether the zone is so long that some names of Kubernetes do not fit.
func (z *zone) tight() bool {
	return z.tree == clustersetTree || len(z.name) > longestName-longestRelative
}

// tight reports whether any zone is.
func (s *Signpost) tight() bool {
	for i := range s.zones {
		if s.zones[i].tight() {
			return true
		}
	}
	return false
}

// longEvery is the shortest time between two searches for names that do not fit.
const longEvery = 10 * time.Second

// watchLong reports Services with names that do not fit, until stop is closed. That depends
// on the zones, so a source cannot check it.
func (s *Signpost) watchLong(report func(ref cluster.Ref, name string), stop <-chan struct{}) {
	serial, known := uint64(0), map[cluster.Ref]string{}
	for pause := longEvery; ; {
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		if now := s.store.Serial(cluster.PartNames, cluster.PartImports); now != serial {
			serial = now
			begin := time.Now()
			known = s.reportLong(report, known)
			pause = max(longEvery, notifyShare*time.Since(begin))
		}
	}
}

// reportLong reports one name of each Service with names that do not fit, except for those
// in known. It returns all of them.
func (s *Signpost) reportLong(report func(ref cluster.Ref, name string), known map[cluster.Ref]string) map[cluster.Ref]string {
	found := map[cluster.Ref]string{}
	for i := range s.zones {
		z := &s.zones[i]
		if z.reverse || !z.tight() {
			continue
		}
		kind := cluster.KindService
		if z.tree == clustersetTree {
			kind = cluster.KindServiceImport
		}
		for e := range s.index(z).Services() {
			ref := cluster.Ref{Kind: kind, Key: e.Service.Key}
			name := s.longOf(z, e)
			if name == "" || found[ref] != "" {
				continue
			}
			found[ref] = name
			if known[ref] != name {
				report(ref, name)
			}
		}
	}
	return found
}

// longOf returns a name of a Service in a zone that does not fit; "" if there is none.
func (s *Signpost) longOf(z *zone, e *cluster.Entry) (long string) {
	tree := ".svc"
	if z.tree == outsideTree {
		if tree = ""; s.outsideKind(e) == missing {
			return ""
		}
	}
	serviceNames(e, tree, func(relative string) bool {
		if name := join(relative, z.name); !fits(name) {
			long = name
		}
		return long == ""
	})
	return long
}
