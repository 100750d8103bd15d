//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// How long a pod may take to be ready, how often to look, and how long it may take to end after it was told to.
const (
	readyLimit = 30 * time.Second
	readyPoll  = 10 * time.Millisecond
	stopGrace  = 5 * time.Second
)

// runningPod is a pod with what a kubelet keeps about it.
type runningPod struct {
	api     *corev1.Pod
	owner   *workload // nil for a pod of its own
	node    *netlab.Node
	host    *netlab.Host
	process *netlab.Process // nil if nothing runs in it
	output  output          // what the process wrote
}

// addPod makes the host of a pod, with the resolv.conf that a kubelet would write. Nothing runs in it yet.
func (c *cluster) addPod(pod *corev1.Pod) (*runningPod, error) {
	at := slices.Index(c.nodeNames(), pod.Spec.NodeName)
	if at < 0 {
		return nil, fmt.Errorf("pod %s: there is no node %q", pod.Name, pod.Spec.NodeName)
	}
	p := &runningPod{api: pod, node: c.lab.Nodes[at]}
	var err error
	if p.host, err = p.node.AddPod(pod.Name); err != nil {
		return nil, err
	}
	c.running = append(c.running, p)
	resolver := netlab.Resolver{Search: searchList(pod.Namespace), Options: []string{"ndots:5"}}
	if c.dns.IsValid() {
		resolver.Nameservers = []netip.Addr{c.dns}
	}
	return p, p.host.SetResolver(resolver)
}

// start starts the server that plays the pod's containers: this program again.
func (p *runningPod) start(program string) error {
	args := []string{"pod", p.api.Name}
	for _, to := range p.ports() {
		args = append(args, to.String())
	}
	cmd := exec.Command(program, args...)
	cmd.Stderr = &p.output
	var err error
	p.process, err = p.host.Start(cmd)
	return err
}

// ports are the addresses on which the pod's containers listen.
func (p *runningPod) ports() []netip.AddrPort {
	var list []netip.AddrPort
	for _, addr := range p.addrs() {
		for _, port := range containerPorts(p.api) {
			list = append(list, netip.AddrPortFrom(addr, port))
		}
	}
	return list
}

func (p *runningPod) addrs() []netip.Addr {
	addrs := []netip.Addr{p.host.IPv4}
	if p.host.IPv6.IsValid() {
		addrs = append(addrs, p.host.IPv6)
	}
	return addrs
}

// awaitReady asks the pod's server from its node, as a kubelet probes, until every port answers; then the pod is ready.
func (p *runningPod) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, to := range p.ports() {
		err := p.poll(ctx, func() error {
			_, err := p.node.Ask(ctx, "tcp", to)
			return err
		})
		if err != nil {
			return err
		}
	}
	p.setReady()
	return nil
}

// poll repeats a probe until it succeeds, the pod's process ends, or ctx does.
func (p *runningPod) poll(ctx context.Context, probe func() error) error {
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-p.process.Done():
			return fmt.Errorf("pod %s ended before it was ready: %v\n%s", p.api.Name, p.process.Wait(), p.output.tail(20))
		case <-ctx.Done():
			return fmt.Errorf("pod %s: not ready: %w (%w)", p.api.Name, err, context.Cause(ctx))
		case <-time.After(readyPoll):
		}
	}
}

// setReady writes down what a kubelet reports of a pod that is ready.
func (p *runningPod) setReady() {
	var ips []string
	for _, addr := range p.addrs() {
		ips = append(ips, addr.String())
	}
	setRunning(p.api, p.node.IPv4.String(), ips, time.Now())
}

// stopPod ends a pod: its process is told to, then its host goes.
func (c *cluster) stopPod(ctx context.Context, p *runningPod) error {
	if p.process != nil {
		p.process.Stop(ctx, stopGrace)
	}
	c.running = slices.DeleteFunc(c.running, func(other *runningPod) bool { return other == p })
	return p.node.RemovePod(p.host)
}
