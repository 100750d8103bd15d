package ipvs

import (
	"context"
	"errors"
	"strings"

	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Mode returns mode ipvs. A node must be prepared for it: see Prepare.
func Mode(o Options) dataplane.Mode {
	return dataplane.Mode{
		Name: "ipvs", Schedules: true, DropsUnused: true, BindsExternal: true,
		Driver: driver{o}, Kernel: kernel{o}, Handover: kernel{o},
		Metrics: dataplane.Metrics{Failures: "kubeproxy_sync_proxy_rules_iptables_restore_failures_total"}, // as kube-proxy has it
	}
}

type driver struct{ Options }

func (d driver) Probe() error { return Probe(d.Options) }

func (d driver) Open() (dataplane.Dataplane, error) { return Open(d.Options) }

func (d driver) Render(h dataplane.Host, t *vip.Table) (string, error) {
	return Render(d.Options, h, t), nil
}

func (driver) Limits() []dataplane.Limit { return limits }

type kernel struct{ Options }

func (kernel) InUse(context.Context) (bool, error) { return InUse() }

func (k kernel) Frontends() ([]vip.Frontend, error) { return Frontends(k.Options) }

func (k kernel) Inspect(_ context.Context, h dataplane.Host, t *vip.Table, f vip.Frontend) ([]string, error) {
	return Inspect(k.Options, h, t, f)
}

// Cleanup removes the virtual servers and kube-ipvs0, unless a kube-proxy runs: they are its own, and it would
// make them again. The companion is ours alone.
func (k kernel) Cleanup(ctx context.Context, c dataplane.Cleaning) (removed []string, err error) {
	if c.Keep == nil && c.PeerRuns {
		return nil, CleanupBeside(ctx)
	}
	var errs []error
	if c.Keep == nil {
		what, err := k.cleanUp(ctx)
		if errs = append(errs, err); what != "" {
			removed = append(removed, what)
		}
	}
	if !c.PeerRuns {
		sets, err := CleanupKubeProxy(ctx)
		if errs = append(errs, err); len(sets) > 0 {
			removed = append(removed, strings.Join(sets, ", "))
		}
	}
	return removed, errors.Join(errs...)
}

// cleanUp is Cleanup of this package. The connections of IPVS meet the rules of the other mode after it, if there
// are any.
func (k kernel) cleanUp(ctx context.Context) (string, error) {
	there, err := InUse()
	if !there {
		what, failed := Cleanup(ctx, k.Options)
		return what, errors.Join(err, failed)
	}
	_, before := conntrack.Release()
	what, failed := Cleanup(ctx, k.Options)
	_, after := conntrack.Release() // an answer may have begun a flow again meanwhile
	return what, errors.Join(err, before, failed, after)
}

func (kernel) Yield() error { return Yield() }

func (kernel) Connections() (rules, need bool, err error) {
	if rules, err = InUse(); rules {
		need, err = conntrack.HasIPVSConnections()
	}
	return rules, need, err
}

// limits is what IPVS can do in part only.
var limits = []dataplane.Limit{
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

// lingers is for how many seconds IPVS remembers a connection after its end (the state TIME_WAIT).
const lingers = 120
