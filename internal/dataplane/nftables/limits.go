package nftables

import (
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

var _ dataplane.Limited = (*Dataplane)(nil)

// Limits implements dataplane.Limited.
func (d *Dataplane) Limits() []dataplane.Limit {
	return []dataplane.Limit{
		{
			Name: "affinity-timeout",
			Why: "nftables remembers clients for one of 32 times: the timeout of sessionAffinity is rounded up to the next of them " +
				"(README, modes)",
			Concerns: func(r *vip.Route) bool { return r.Affinity != 0 && roundedUp(r.Affinity) != r.Affinity },
		},
		{
			Name:     "affinity-backends",
			Why:      "with sessionAffinity nftables uses 16383 backends of a Service port: the rest get no connections",
			Concerns: func(r *vip.Route) bool { return r.Affinity != 0 && max(len(r.Cluster), len(r.Local)) > maxSticky },
		},
	}
}
