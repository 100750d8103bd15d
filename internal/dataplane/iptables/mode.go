package iptables

import (
	"context"
	"fmt"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Mode returns mode iptables.
func Mode(o Options) dataplane.Mode {
	return dataplane.Mode{
		Name: "iptables", Auto: true, Driver: driver{o}, Kernel: kernel{},
		Metrics: dataplane.Metrics{
			Failures:        "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
			PartialFailures: "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
		},
	}
}

type driver struct{ Options }

func (driver) Probe() error { return Probe() }

func (d driver) Open() (dataplane.Dataplane, error) { return Open(d.Options) }

func (driver) Render(h dataplane.Host, t *vip.Table) (string, error) { return Render(h, t) }

// wellRemembered is how many clients nftables mode remembers for affinity, and recent how many
// xt_recent does for each backend unless it is told otherwise.
const (
	wellRemembered = 65535
	recentDefault  = 100
)

// Limits returns what iptables can do in part only. How many clients the kernel remembers is a parameter of the
// module and not of the network namespace, so the owner of the node sets it.
func (driver) Limits() []dataplane.Limit {
	most, err := readNumber("/sys/module/xt_recent/parameters/ip_list_tot")
	if err != nil {
		most = recentDefault // it is not loaded yet
	}
	if most >= wellRemembered {
		return nil
	}
	return []dataplane.Limit{{
		Name:     "affinity-clients",
		Why:      fmt.Sprintf("the kernel remembers %d clients for each backend and forgets others early: load the module with xt_recent ip_list_tot=%d", most, wellRemembered),
		Concerns: func(r *vip.Route) bool { return r.Affinity > 0 },
	}}
}

type kernel struct{}

func (kernel) InUse(ctx context.Context) (bool, error) { return InUse(ctx), nil }

func (kernel) Frontends() ([]vip.Frontend, error) { return Frontends() }

func (kernel) Inspect(ctx context.Context, h dataplane.Host, t *vip.Table, f vip.Frontend) ([]string, error) {
	return Inspect(ctx, h, t, t.Route(f))
}

// Cleanup removes our rules and kube-proxy's, which look alike. While a kube-proxy runs only the chains go that it
// does not have. While d routes only the rules of the backend go that it does not use.
func (kernel) Cleanup(ctx context.Context, c dataplane.Cleaning) (removed []string, err error) {
	n := 0
	d, routes := c.Keep.(*Dataplane)
	switch {
	case !routes && c.PeerRuns:
		n, err = CleanupBeside(ctx)
	case !routes:
		n, err = Cleanup(ctx)
	case !c.PeerRuns:
		n, err = d.CleanupOther(ctx)
	}
	if n > 0 {
		removed = []string{fmt.Sprintf("%d chains KUBE-*", n)}
	}
	return removed, err
}
