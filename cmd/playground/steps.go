//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// walk is the walk-through, in order. A row for another family or another program goes where it belongs in the story.
func walk(c *cluster) []step {
	steps := []step{
		{
			says: "A Service is found by its name. A pod's search list makes the short name a full one.",
			ask:  []string{"lookup", "web", "A"}, want: clusterIP("web", netip.Addr.Is4),
		},
		{
			says: "With its namespace the name works from every other namespace, too.",
			ask:  []string{"lookup", "web.default", "A"}, want: clusterIP("web", netip.Addr.Is4),
		},
		{
			says: "This one is in another namespace: the cluster's DNS has a name itself. Every question here went to its VIP.",
			ask:  []string{"lookup", "kube-dns.kube-system", "A"}, want: exactly("10.96.0.10"),
		},
		{
			says: "The full name works everywhere.",
			ask:  []string{"lookup", "web.default.svc.cluster.local", "A"}, want: clusterIP("web", netip.Addr.Is4),
		},
		{
			says: "SRV tells the port as well: priority, weight, port, target.",
			ask:  []string{"lookup", "_http._tcp.web.default.svc.cluster.local", "SRV"},
			want: exactly("0 100 80 web.default.svc.cluster.local."),
		},
		{
			says: "The address leads back to the name.",
			ask:  []string{"lookup", reverse(c, "web"), "PTR"}, want: exactly("web.default.svc.cluster.local."),
		},
		{
			says: "The address is nobody's: the forwarder of the node sends each connection to one of the pods. They take turns.",
			ask:  []string{"fetch", "-n", "60", "http://web/"}, want: allPodsOf("web", 3),
		},
		{
			says: "UDP goes the same way.",
			ask:  []string{"fetch", "-n", "60", "udp://web-udp:8080"}, want: allPodsOf("web", 3),
		},
		{
			says: "From outside a Service is reached by a port of every node, here node-1 …",
			from: fromOutside, where: "outside",
			ask: []string{"fetch", "-n", "60", "http://" + c.nodeAddr(1) + ":30009/"}, want: allPodsOf("web", 3),
		},
		{
			says: "… and node-2.",
			from: fromOutside, where: "outside",
			ask: []string{"fetch", "-n", "60", "http://" + c.nodeAddr(2) + ":30009/"}, want: allPodsOf("web", 3),
		},
		{
			says: "A Service without pods refuses at once: nobody waits for a time-out.",
			ask:  []string{"fetch", "http://nobody-home/"}, want: exactly("connection refused"),
		},
		{
			says: "A headless Service is the addresses of its pods.",
			ask:  []string{"lookup", "web-headless", "A"}, want: podIPs("web", 3),
		},
		{
			says: "So the name is enough to reach a pod: this one answered.",
			ask:  []string{"fetch", "http://web-headless:8080/"}, want: onePodOf("web"),
		},
		{
			says: "A pod of a StatefulSet has a name of its own.",
			ask:  []string{"lookup", "store-1.store", "A"}, want: podIP("store-1"),
		},
		{
			says:   "The Deployment is scaled from 3 to 6 pods: the headless name follows.",
			change: scale("web", 6),
			ask:    []string{"lookup", "web-headless", "A"}, want: podIPs("web", 6),
		},
		{
			says: "The Service's own address did not change.",
			ask:  []string{"lookup", "web", "A"}, want: clusterIP("web", netip.Addr.Is4),
		},
		{
			says: "And now it leads to all six.",
			ask:  []string{"fetch", "-n", "200", "http://web/"}, want: allPodsOf("web", 6),
		},
		{
			says:   "Scaled to 1: five addresses less.",
			change: scale("web", 1),
			ask:    []string{"lookup", "web-headless", "A"}, want: podIPs("web", 1),
		},
		{
			says: "The last pod reaches itself through the Service.",
			from: fromPodOf("web"), where: "the pod of web",
			ask: []string{"fetch", "-n", "5", "http://web/"}, want: allPodsOf("web", 1),
		},
		{
			says: "A name that is not there is said not to be there.",
			ask:  []string{"lookup", "nobody", "A"}, want: exactly("NXDOMAIN"),
		},
		{
			says: "A name that is there without such a record is something else: an empty answer.",
			ask:  []string{"lookup", "web", "MX"}, want: exactly("NODATA"),
		},
	}
	if c.hasIPv6() {
		steps = slices.Insert(steps, 1, step{
			says: "The Service is dual-stack: it has an IPv6 address too.",
			ask:  []string{"lookup", "web", "AAAA"}, want: clusterIP("web", netip.Addr.Is6),
		})
	}
	return steps
}

// clusterIP expects the addresses of a Service in namespace default, of one family.
func clusterIP(service string, family func(netip.Addr) bool) func(*cluster) expectation {
	return func(c *cluster) expectation {
		return expectation{answers: addrs(c.clusterIPs(service), family), number: 1}
	}
}

// podIPs expects the IPv4 addresses of the pods of a workload, and that there are so many of them.
func podIPs(workload string, number int) func(*cluster) expectation {
	return func(c *cluster) expectation {
		return expectation{answers: addrs(c.hostAddrs(workload), netip.Addr.Is4), number: number}
	}
}

// podIP expects the IPv4 address of one pod.
func podIP(pod string) func(*cluster) expectation {
	return func(c *cluster) expectation {
		return expectation{answers: addrs(c.podAddrs(pod), netip.Addr.Is4), number: 1}
	}
}

// onePodOf expects the name of a pod of a workload.
func onePodOf(workload string) func(*cluster) expectation {
	return func(c *cluster) expectation { return expectation{answers: c.podNames(workload), one: true} }
}

// allPodsOf expects the names of all pods of a workload, and that there are so many of them.
func allPodsOf(workload string, number int) func(*cluster) expectation {
	return func(c *cluster) expectation {
		return expectation{answers: slices.Sorted(slices.Values(c.podNames(workload))), number: number}
	}
}

func exactly(answers ...string) func(*cluster) expectation {
	return func(*cluster) expectation { return expectation{answers: answers} }
}

// scale changes the number of pods of a Deployment in namespace default.
func scale(deployment string, replicas int) func(context.Context, *cluster) error {
	return func(ctx context.Context, c *cluster) error {
		if err := c.scale(ctx, deployment, replicas); err != nil {
			return fmt.Errorf("scale deployment %s to %d: %w", deployment, replicas, err)
		}
		return nil
	}
}

// reverse is the name under which a Service's IPv4 address is looked up.
func reverse(c *cluster, service string) string {
	for _, addr := range addrs(c.clusterIPs(service), netip.Addr.Is4) {
		if name, err := dns.ReverseAddr(addr); err == nil {
			return name
		}
	}
	return service // leads to a failed step that says so
}

// addrs are the addresses of one family as sorted text.
func addrs(all []netip.Addr, family func(netip.Addr) bool) []string {
	var list []string
	for _, addr := range all {
		if family(addr) {
			list = append(list, addr.String())
		}
	}
	slices.Sort(list)
	return list
}
