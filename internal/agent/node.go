package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Detection is how pods are told from others: what the configuration says.
type Detection struct {
	vip.Pods
	NodeCIDR bool // by the networks that the Node object has for its pods
}

// of gives the way on a node, whose object may be nil.
func (d Detection) of(n *cluster.Node) vip.Pods {
	pods := d.Pods
	if d.NodeCIDR && n != nil {
		pods.CIDRs = firstOfEach(n.PodCIDRs)
	}
	return pods
}

// firstOfEach are the first networks of each family, as kube-proxy takes them.
func firstOfEach(list []netip.Prefix) (out []netip.Prefix) {
	for _, p := range list {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }) {
			out = append(out, p)
		}
	}
	return out
}

// Surroundings are what a node and its host are like, by the objects there are, the
// machine's addresses and networks, and the configuration of an Agent. The Overlaps are
// those without endpoints.
func Surroundings(o Options, machine []netip.Addr, networks []node.Network) (vip.Node, dataplane.Host) {
	object := o.Store.Node(o.NodeName)
	primary := node.Primary(object, o.NodeAddr)
	pods := o.Pods.of(object)
	n := vip.Node{Name: cluster.MakeAtom(o.NodeName), Addrs: primary, Pods: pods, MasqueradeAll: o.MasqueradeAll, NoExternalIPs: o.NoExternalIPs, Guard: o.guard(object, machine)}
	if object != nil {
		n.Zone = object.Zone
	}
	return n, dataplane.Host{
		Host: vip.Host{
			Pods: pods, Addrs: machine,
			NodePortAddrs: o.NodePorts.Addrs(machine, primary),
			NodePortAll4:  o.NodePorts.Everything(true, primary), NodePortAll6: o.NodePorts.Everything(false, primary),
			NodePortLoopback: o.NodePorts.Loopback,
			NodePortRelay:    o.NodePorts.Relay,
			ServiceCIDRs:     o.Store.ServiceCIDRs(),
			Overlaps:         vip.Overlaps(o.Store.ServiceCIDRs(), inUse(object, pods, networks)),
			DropsUnused:      o.DropsUnused,
			BindsExternal:    o.BindsExternal,
		},
		MasqueradeMark: o.MasqueradeMark,
	}
}

// change brings what changed into the kernel: objects, or (with nil) the host's
// addresses. If the node itself is another, all Services are built again.
func (a *Agent) change(ctx context.Context, refs []cluster.Ref) {
	a.Health.Queued()
	a.Metrics.queued()
	moved, other := false, false
	if refs == nil || slices.ContainsFunc(refs, a.concernsNode) {
		guarded := a.node.Guard
		if moved, other = a.look(); other {
			refs = a.everyService(refs)
		} else {
			refs = a.servicesIn(guarded.Differences(&a.node.Guard), refs)
		}
	}
	changes := a.take(refs, other)
	moved = a.enforce() || moved
	if moved && !a.dirty {
		_ = a.sync(ctx, "the node changed")
		return
	}
	a.write(ctx, changes)
}

// concernsNode reports whether an object says what the node or its host is like.
func (a *Agent) concernsNode(r cluster.Ref) bool {
	return r.Kind == cluster.KindNode || r.Kind == cluster.KindServiceCIDR || r == apiService
}

// everyService adds all Services to refs.
func (a *Agent) everyService(refs []cluster.Ref) []cluster.Ref {
	all := map[cluster.Ref]bool{}
	for _, r := range refs {
		all[r] = true
	}
	for e := range a.Store.Services() {
		if r := e.Service.Ref(); !all[r] {
			refs = append(refs, r)
		}
	}
	return refs
}

// look finds out about the node, and reports whether the host is another than before, to
// be told to the dataplane, and whether the node is, for which Services are built.
func (a *Agent) look() (moved, other bool) {
	n, host := Surroundings(a.Options, a.Machine.Addrs(), a.Machine.Networks())
	a.ranges.follow(&host, a.Store)
	host.Overlaps = a.ranges.decide(time.Now(), a.Log)
	first := a.host.MasqueradeMark == 0
	moved = first || !host.Equal(&a.host.Host) || host.MasqueradeMark != a.host.MasqueradeMark
	other = !n.Equal(&a.node)
	if first || !slices.Equal(host.NodePortAddrs, a.host.NodePortAddrs) {
		a.sayNodePorts(n, host)
	}
	if first || !n.Pods.Equal(a.node.Pods) {
		a.sayPods(n)
	}
	if other && !first {
		a.Log.Info("this node is another: all Services are built again", "node", a.NodeName,
			"zone", n.Zone.String(), "addresses", fmt.Sprint(n.Addrs), "pods", n.Pods.String())
	}
	if a.Relay != nil {
		a.Relay.Listen(host.NodePortRelay)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node, a.host = n, host
	return moved, other
}

func (a *Agent) sayNodePorts(n vip.Node, host dataplane.Host) {
	if a.NodePorts.Primary && len(n.Addrs) == 0 {
		a.Log.Warn("there is no Node object with an address of this node: NodePorts are served on all of its addresses",
			"node", a.NodeName, "addresses", fmt.Sprint(host.NodePortAddrs))
		return
	}
	if missing := slices.DeleteFunc(slices.Clone(n.Addrs), func(p netip.Addr) bool { return slices.Contains(host.NodePortAddrs, p) }); a.NodePorts.Primary && len(missing) > 0 {
		a.Log.Warn("this machine does not have an address by which the node is known (nodePortAddresses primary): no NodePort is served on it",
			"node", a.NodeName, "missing", fmt.Sprint(missing), "addresses", fmt.Sprint(host.NodePortAddrs))
		return
	}
	a.Log.Info("addresses that serve NodePorts", "node", a.NodeName, "addresses", fmt.Sprint(host.NodePortAddrs))
}

// sayPods warns where pods were to be told by the Node object and it does not say.
func (a *Agent) sayPods(n vip.Node) {
	if a.Pods.NodeCIDR && len(n.Pods.CIDRs) == 0 {
		a.Log.Warn("the Node object has no podCIDRs yet (detectLocalMode NodeCIDR): pods cannot be told from others, and "+
			"connections from outside to cluster IPs keep their source address", "node", a.NodeName)
	}
}
