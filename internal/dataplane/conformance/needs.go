//go:build linux

package conformance

import (
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/vip"
)

// What not every dataplane can do, because the kernel's means do not allow it.
const (
	// SharedAffinity: a client stays with its backend, whichever frontend of the Service port it dials.
	SharedAffinity = "shared-affinity"
	// ShortAffinity: a client is forgotten when the time of the affinity is over, and not only
	// when its connections are.
	ShortAffinity = "short-affinity"
	// OtherPorts: what is sent to an external address, and to a port there that no Service has, goes
	// where the routes lead.
	OtherPorts = "other-ports"
	// DropsUnused: what is sent to an address in a ServiceCIDR that no Service has is dropped.
	DropsUnused = "drops-unused"
	// leavesUnused: it is left alone. A dataplane does one or the other.
	leavesUnused = "leaves-unused"
)

var needs = []string{SharedAffinity, ShortAffinity, OtherPorts, DropsUnused, leavesUnused}

// needs reads what a scenario needs.
func (p *parser) needs() step {
	for _, word := range p.all("what not every dataplane can") {
		if !slices.Contains(needs, word) {
			p.fail("%q: expected one of %s", word, strings.Join(needs, ", "))
		}
		p.current().needs = append(p.current().needs, word)
	}
	return nil
}

// cannot says why the dataplane cannot play a scenario, or "".
func (b *Backend) cannot(s scenario) string {
	for _, word := range s.needs {
		if why := b.Lacks[word]; why != "" {
			return "needs " + word + ": " + why
		}
	}
	return ""
}

// otherwise reports whether a scenario is about the other of two ways, both of which are right.
func (b *Backend) otherwise(s scenario) bool {
	leaves := b.Lacks[DropsUnused] != ""
	return slices.Contains(s.needs, DropsUnused) && leaves || slices.Contains(s.needs, leavesUnused) && !leaves
}

// taken reports whether another frontend has the address, which makes it the node's own where the
// dataplane lacks OtherPorts.
func (p *proxy) taken(f vip.Frontend) bool {
	for r := range p.table.All() {
		if r.Addr == f.Addr {
			return true
		}
	}
	return false
}
