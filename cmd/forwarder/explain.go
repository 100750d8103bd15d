package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/vip"
)

const explainUsage = "forwarder explain SOURCE[@INTERFACE] DESTINATION:PORT[/PROTOCOL] [flags]"

// explain prints what happens to a packet on this node (or another, with
// --hostname-override), and why. On the node itself, with the required rights, it also prints
// the kernel's state. It changes nothing.
func explain(ctx context.Context, c *config.Config, env environment, q question) error {
	v, err := look(ctx, c, env)
	if err != nil {
		return err
	}
	p, named, err := q.packet(ctx, v)
	if err != nil {
		return err
	}
	x := v.table.Explain(&v.host.Host, p)
	var kernel *found
	if v.config.HostnameOverride == "" || v.isHere() {
		kernel = inspect(ctx, v, &x)
	}
	if kernel != nil { // with mode auto only the node knows which one it is
		v.mode, v.host.DropsUnused, v.host.BindsExternal = kernel.mode, kernel.mode.DropsUnused, kernel.mode.BindsExternal
		x = v.table.Explain(&v.host.Host, p)
	}
	text := x.String()
	for _, line := range slices.Concat(named, v.stranger(), v.closed(p.Destination.Addr()), v.refused(p.Destination)) {
		text += "  " + line
	}
	text += v.behind(ctx, &x)
	if kernel != nil {
		text += kernel.readBack(ctx, v, &x)
	}
	_, err = fmt.Fprint(env.stdout, text)
	return err
}

// behind prints what led to the decision about a packet: the endpoints, conflicting claims, another node.
func (v *view) behind(ctx context.Context, x *vip.Explanation) (text string) {
	r := x.Route
	if r == nil {
		if n := v.nodeAt(ctx, x.Destination.Addr()); n != nil && cluster.MakeAtom(n.Name) != v.node.Name {
			text = fmt.Sprintf("  %v is an address of node %s: explain with --hostname-override=%[2]s says what happens there\n", x.Destination.Addr(), n.Name)
		}
		return text
	}
	e := v.store.Service(r.Owner.Service.Namespace, r.Owner.Service.Name)
	if why := r.Unserved(e, v.node); why != "" && x.Action == vip.Reject {
		text += "  refused: " + why + "\n"
	}
	if line := v.scheduled(r); line != "" {
		text += "  " + line
	}
	if !x.Filtered {
		for _, line := range r.Endpoints(e, v.node, x.Class) {
			text += "  endpoint " + line + "\n"
		}
	}
	for _, o := range v.table.Losers(r.Frontend) {
		text += fmt.Sprintf("  %v claims it too (a ClusterIP has precedence, then a load balancer, then age)\n", o)
	}
	return text + "frontend " + r.String() + "\n"
}
