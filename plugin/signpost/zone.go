package signpost

import (
	"strings"

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
	outsideTree                // SERVICE.NAMESPACE, for clients outside: see outside.go
	clustersetTree             // SERVICE.NAMESPACE.svc, of a set of clusters: see clusterset.go
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

// isReverse reports whether a lower-case name is that of an address or a prefix.
func isReverse(name string) bool {
	for _, tree := range []string{"in-addr.arpa.", "ip6.arpa."} {
		if rest, ok := strings.CutSuffix(name, tree); ok && (rest == "" || rest[len(rest)-1] == '.') {
			return true
		}
	}
	return false
}

// join puts a relative name and a zone together; the root zone is only a dot.
func join(relative, zone string) string {
	if zone == "." {
		return relative + zone
	}
	return relative + "." + zone
}

// service is the full name of a Service in the zone.
func (z *zone) service(k cluster.Key) string {
	if z.tree == outsideTree {
		return join(k.Name+"."+k.Namespace, z.name)
	}
	return k.Name + "." + k.Namespace + ".svc." + z.suffix()
}

// suffix is what follows ".svc." in a full name of the zone.
func (z *zone) suffix() string {
	if z.name == "." {
		return ""
	}
	return z.name
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

// cutLast splits off the rightmost label of a relative name.
func cutLast(name string) (rest, label string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}
