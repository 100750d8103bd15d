package agent

import (
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/vip"
)

// counts counts what the table holds, from its changes.
type counts struct {
	frontends [vip.Kinds]int // by kind
	backends  int
	// noLocal holds the Service ports with traffic policy Local whose endpoints are all on
	// other nodes: by family and policy, with the number of their frontends.
	noLocal map[healthcheck.Family]map[string]map[vip.Owner]int
}

// The values of the label traffic_policy.
const (
	internalPolicy = "internal"
	externalPolicy = "external"
)

func newCounts() counts {
	c := counts{noLocal: map[healthcheck.Family]map[string]map[vip.Owner]int{}}
	for _, f := range []healthcheck.Family{healthcheck.IPv4, healthcheck.IPv6} {
		c.noLocal[f] = map[string]map[vip.Owner]int{internalPolicy: {}, externalPolicy: {}}
	}
	return c
}

func (c *counts) add(changes []vip.Change) {
	for _, ch := range changes {
		c.one(ch.Old, -1)
		c.one(ch.New, 1)
	}
}

func (c *counts) one(r *vip.Route, by int) {
	if r == nil {
		return
	}
	c.frontends[r.Kind] += by
	c.backends += by * len(r.Reachable())
	// A port is dropped for no other reason.
	if r.Policy.Of(vip.FromOutside).Action == vip.Drop {
		family, policy := healthcheck.IPv6, externalPolicy
		if r.Addr.Is4() {
			family = healthcheck.IPv4
		}
		if r.Kind == vip.ClusterIP {
			policy = internalPolicy
		}
		owners := c.noLocal[family][policy]
		if owners[r.Owner] += by; owners[r.Owner] == 0 {
			delete(owners, r.Owner)
		}
	}
}
