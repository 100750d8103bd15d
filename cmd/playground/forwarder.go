//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// forwarder is the node agent of one node: the real program, in the node's own network.
type forwarder struct {
	node    *netlab.Node
	process *netlab.Process
	output  output
}

// podNetwork is what the forwarders are told about the addresses of pods, as an administrator would.
const podNetwork = "10.244.0.0/16,fd00:10:244::/48"

// healthPort is where a forwarder tells how it is.
const healthPort = 10256

// startForwarders starts one forwarder on each node and waits until all route.
func startForwarders(ctx context.Context, lab *netlab.Lab, binary, manifests string) ([]*forwarder, error) {
	var all []*forwarder
	for _, n := range lab.Nodes {
		f := &forwarder{node: n}
		cmd := exec.Command(binary, "--manifests="+manifests, "--hostname-override="+n.Name, "--cluster-cidr="+podNetwork)
		cmd.Stdout, cmd.Stderr = &f.output, &f.output
		var err error
		if f.process, err = n.Start(cmd); err != nil {
			return all, err
		}
		all = append(all, f)
	}
	for _, f := range all {
		if err := f.await(ctx); err != nil {
			return all, err
		}
	}
	return all, nil
}

// await asks the forwarder how it is until it is well.
func (f *forwarder) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		err := probeHTTP(ctx, f.node.Host, netip.AddrPortFrom(f.node.IPv4, healthPort), "/healthz")
		if err == nil {
			return nil
		}
		select {
		case <-f.process.Done():
			return fmt.Errorf("the forwarder of %s ended before it routed: %v\n%s", f.node.Name, f.process.Wait(), f.output.tail(20))
		case <-ctx.Done():
			return fmt.Errorf("the forwarder of %s: not healthy: %w\n%s", f.node.Name, err, f.output.tail(20))
		case <-time.After(readyPoll):
		}
	}
}

// place is where a step asks from.
type place func(*playground) (*netlab.Host, error)

// fromClient is the pod client: where steps ask if they say nothing else.
func fromClient(p *playground) (*netlab.Host, error) { return p.client.host, nil }

// fromOutside is the machine that does not belong to the cluster.
func fromOutside(p *playground) (*netlab.Host, error) { return p.cluster.lab.Outside, nil }

// fromPodOf is the oldest pod of a workload in namespace default.
func fromPodOf(workload string) place {
	return func(p *playground) (*netlab.Host, error) {
		pods := p.cluster.podsIn(workload)
		if len(pods) == 0 {
			return nil, fmt.Errorf("no pod of %s to ask from", workload)
		}
		return pods[0].host, nil
	}
}
