package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/nftables"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// planPatience is how long an API may take for its first complete answer.
const planPatience = time.Minute

// plan prints the table of a node and the rules for it. It needs no rights and changes
// nothing; the node may be another one, by --hostname-override.
func plan(ctx context.Context, c *config.Config, env environment) error {
	name, err := node.Name(c.HostnameOverride)
	if err != nil {
		return err
	}
	store := cluster.NewStore()
	objects, err := newFeed(c, name, store, newLog(c, env.stderr))
	if err != nil {
		return err
	}
	if err := fill(ctx, store, objects); err != nil {
		return err
	}
	pods := vip.Pods{CIDRs: c.ClusterCIDRs}
	host := dataplane.Host{Host: vip.Host{Pods: pods}, MasqueradeMark: c.MasqueradeMark}
	if host.NodePortAddrs, err = plannedAddrs(c, store.Node(name)); err != nil {
		return err
	}
	table := vip.NewTable()
	this := vip.Node{Name: cluster.MakeAtom(name), Pods: pods, MasqueradeAll: c.MasqueradeAll}
	for e := range store.Services() {
		table.Set(e.Service.Key, vip.Build(e, this))
	}
	rules, refused := nftables.Render(host, table)
	if _, err := fmt.Fprintf(env.stdout, "%v\n%s", table, rules); err != nil {
		return err
	}
	return refused
}

// plannedAddrs are the addresses that serve NodePorts on a node that has those of its
// Node object; without one, on this machine.
func plannedAddrs(c *config.Config, object *cluster.Node) ([]netip.Addr, error) {
	primary := node.Primary(object, c.BindAddress)
	if object != nil {
		return node.NodePorts(c.NodePorts).Addrs(object.Addrs, primary), nil
	}
	machine, err := node.NewMachine()
	if err != nil {
		return nil, err
	}
	return node.NodePorts(c.NodePorts).Addrs(machine.Addrs(), primary), nil
}

// fill runs the feed until the store is complete.
func fill(ctx context.Context, store *cluster.Store, objects feed) error {
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); objects.Run(running) }()
	defer func() { stop(); <-ended }()
	patience := time.After(planPatience)
	for !store.Synced() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience:
			return fmt.Errorf("reading objects: nothing complete after %v%s", planPatience, lastErrors(objects))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// lastErrors says what a source has against it.
func lastErrors(objects feed) string {
	for _, s := range objects.Status() {
		if s.LastError != "" {
			return ": " + s.LastError
		}
	}
	return ""
}
