package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/vip"
)

const explainUsage = "forwarder explain SOURCE[@INTERFACE] ADDRESS:PORT[/PROTOCOL] [flags]"

// explaining reads the packet that explain is about from the arguments, and gives what
// to do with the rest of them.
func explaining(args []string) (do func(context.Context, *config.Config, environment) error, rest []string, err error) {
	if len(args) < 2 || strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[1], "-") {
		if strings.Join(args, " ") == "-h" || strings.Join(args, " ") == "--help" {
			return plan, args, nil
		}
		return nil, nil, fmt.Errorf("explaining %q: expected %s", strings.Join(args, " "), explainUsage)
	}
	p, err := packetOf(args[0], args[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: expected %s", err, explainUsage)
	}
	return func(ctx context.Context, c *config.Config, env environment) error { return explain(ctx, c, env, p) }, args[2:], nil
}

func packetOf(from, to string) (vip.Packet, error) {
	address, in, _ := strings.Cut(from, "@")
	source, err := netip.ParseAddr(address)
	if err != nil {
		return vip.Packet{}, fmt.Errorf("source %q is no address", address)
	}
	to, name, named := strings.Cut(to, "/")
	destination, err := netip.ParseAddrPort(to)
	if err != nil {
		return vip.Packet{}, fmt.Errorf("destination %q is no address with a port, such as 10.96.0.1:443 or [fd00::1]:443", to)
	}
	if source.Is4() != destination.Addr().Is4() {
		return vip.Packet{}, fmt.Errorf("%v and %v are of two IP families", source, destination.Addr())
	}
	for _, p := range []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP} {
		if !named && p == cluster.TCP || strings.EqualFold(name, p.String()) {
			return vip.Packet{Source: source, In: in, Destination: destination, Protocol: p}, nil
		}
	}
	return vip.Packet{}, fmt.Errorf("protocol %q is none of tcp, udp, sctp", name)
}

// explain prints what becomes of a packet on this node (or another, by
// --hostname-override), and why; on the node itself, with the rights for that, also what
// its kernel makes of it. It changes nothing.
func explain(ctx context.Context, c *config.Config, env environment, p vip.Packet) error {
	v, err := look(ctx, c, env)
	if err != nil {
		return err
	}
	x := v.table.Explain(&v.host.Host, p)
	var kernel *found
	if c.HostnameOverride == "" || v.isHere() {
		kernel = inspect(ctx, v, &x)
	}
	if kernel != nil { // with mode auto only the node knows which one it is
		v.host.DropsUnused, v.host.BindsExternal = kernel.mode.dropsUnused, kernel.mode.bindsExternal
		x = v.table.Explain(&v.host.Host, p)
	}
	text := x.String()
	for _, line := range v.closed(p.Destination.Addr()) {
		text += "  " + line
	}
	for _, line := range v.refused(p.Destination) {
		text += "  " + line
	}
	if r := x.Route; r != nil {
		e := v.store.Service(r.Owner.Service.Namespace, r.Owner.Service.Name)
		if why := r.Unserved(e, v.node); why != "" && x.Action == vip.Reject {
			text += "  refused: " + why + "\n"
		}
		if !x.Filtered {
			for _, line := range r.Endpoints(e, v.node, x.Class) {
				text += "  endpoint " + line + "\n"
			}
		}
		for _, o := range v.table.Losers(r.Frontend) {
			text += fmt.Sprintf("  %v claims it too (a ClusterIP has precedence, then a load balancer, then age)\n", o)
		}
		text += "frontend " + r.String() + "\n"
	}
	if kernel != nil {
		text += kernel.readBack(ctx, v, &x)
	}
	_, err = fmt.Fprint(env.stdout, text)
	return err
}
