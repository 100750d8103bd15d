package nftables

import (
	"context"
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Mode returns mode nftables.
func Mode(o Options) dataplane.Mode {
	return dataplane.Mode{
		Name: "nftables", Auto: true, DropsUnused: true, Driver: driver{o}, Kernel: kernel{},
		Metrics: dataplane.Metrics{
			Failures:         "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
			Listeners:        "kubeproxy_nftables_localhost_nodeport_listeners",
			ListenerFailures: "kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total",
		},
	}
}

type driver struct{ Options }

func (driver) Probe() error { return Probe() }

func (d driver) Open() (dataplane.Dataplane, error) { return Open(d.Options) }

func (driver) Render(h dataplane.Host, t *vip.Table) (string, error) { return Render(h, t) }

func (driver) Limits() []dataplane.Limit { return limits }

type kernel struct{}

func (kernel) InUse(context.Context) (bool, error) { return InUse() }

func (kernel) Frontends() ([]vip.Frontend, error) { return Frontends() }

func (kernel) Inspect(_ context.Context, h dataplane.Host, t *vip.Table, f vip.Frontend) ([]string, error) {
	return Inspect(h, f, t.Route(f))
}

func (kernel) Cleanup(ctx context.Context, c dataplane.Cleaning) (removed []string, err error) {
	if c.Keep == nil {
		err = Cleanup(ctx)
	}
	if c.PeerRuns || err != nil {
		return nil, err
	}
	tables, err := CleanupKubeProxy(ctx)
	if len(tables) > 0 {
		removed = []string{strings.Join(tables, ", ")}
	}
	return removed, err
}

// limits is what nftables can do in part only.
var limits = []dataplane.Limit{
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
