package ipvs

import (
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

var _ dataplane.Limited = (*Dataplane)(nil)

// Limits implements dataplane.Limited.
func (d *Dataplane) Limits() []dataplane.Limit {
	return []dataplane.Limit{
		{
			Name:     "shared-affinity",
			Why:      "IPVS remembers a client for each address by itself: it may get another backend at another address of the Service",
			Concerns: func(r *vip.Route) bool { return r.Affinity > 0 && r.Kind != vip.ClusterIP },
		},
		{
			Name:     "short-affinity",
			Why:      "IPVS remembers a client at least as long as connections of it, which are two minutes after the end of one",
			Concerns: func(r *vip.Route) bool { return r.Affinity > 0 && r.Affinity < lingers },
		},
		{
			Name: "other-ports",
			Why:  "the address is the node's own then, so that ports of it that no Service has are refused",
			Concerns: func(r *vip.Route) bool {
				return (r.Kind == vip.ExternalIP || r.Kind == vip.LoadBalancer) && !r.OnOtherNode
			},
		},
		{
			Name:     "other-node",
			Why:      "the address is another node's and would cut this node off from it, so that it is not put on " + linkName + ": this node leads its own processes only",
			Concerns: func(r *vip.Route) bool { return r.OnOtherNode },
			Tell:     true,
		},
	}
}

// lingers is for how many seconds IPVS remembers a connection after its end (the state TIME_WAIT).
const lingers = 120
