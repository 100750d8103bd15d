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

// Detection configures how traffic from local pods is identified.
type Detection struct {
	vip.Pods
	NodeCIDR bool // use the pod networks of the Node object
}

// of returns the detector for a node, whose object may be nil.
func (d Detection) of(n *cluster.Node) vip.Pods {
	pods := d.Pods
	if d.NodeCIDR && n != nil {
		pods.CIDRs = firstOfEach(n.PodCIDRs)
	}
	return pods
}

// firstOfEach returns the first network of each family, as kube-proxy does.
func firstOfEach(list []netip.Prefix) (out []netip.Prefix) {
	for _, p := range list {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }) {
			out = append(out, p)
		}
	}
	return out
}

// Surroundings returns the facts about a node and its host: from the objects in the Store, the
// machine's addresses and networks, and the options. Overlaps in the result do not consider
// endpoints.
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

// change writes changed objects to the kernel, or (with nil refs) changed addresses of the
// host. If the node itself changed, it rebuilds all Services.
func (a *Agent) change(ctx context.Context, refs []cluster.Ref) {
	a.Health.Queued()
	a.Metrics.queued()
	moved, other := false, false
	if refs == nil || slices.ContainsFunc(refs, a.concernsNode) {
		guarded := a.node.Guard
		if moved, other = a.refreshNode(); other {
			refs = a.everyService(refs)
		} else {
			refs = a.servicesIn(guarded.Differences(&a.node.Guard), refs)
		}
	}
	changes := a.take(refs, other)
	moved = a.enforce() || moved
	if moved && !a.dirty {
		_ = a.sync(ctx, "node changed")
		return
	}
	a.write(ctx, changes)
}

// concernsNode reports whether an object describes the node or its host.
func (a *Agent) concernsNode(r cluster.Ref) bool {
	return r.Kind == cluster.KindNode || r.Kind == cluster.KindServiceCIDR || r == apiService
}

// everyService adds the Services that refs lacks.
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

// refreshNode reads the facts about the node. It reports whether the host changed, which
// requires a sync, and whether the node changed, which requires a rebuild of all Services.
func (a *Agent) refreshNode() (moved, other bool) {
	n, host := Surroundings(a.Options, a.Machine.Addrs(), a.Machine.Networks())
	a.ranges.follow(&host, a.Store)
	host.Overlaps = a.ranges.decide(time.Now(), a.Log)
	first := a.host.MasqueradeMark == 0
	moved = first || !host.Equal(&a.host.Host) || host.MasqueradeMark != a.host.MasqueradeMark
	other = !n.Equal(&a.node)
	if first || !slices.Equal(host.NodePortAddrs, a.host.NodePortAddrs) {
		a.logNodePorts(n, host)
	}
	if first || !n.Pods.Equal(a.node.Pods) {
		a.logPods(n)
	}
	if other && !first {
		a.Log.Info("node changed, rebuilding all Services", "node", a.NodeName,
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

func (a *Agent) logNodePorts(n vip.Node, host dataplane.Host) {
	if a.NodePorts.Primary && len(n.Addrs) == 0 {
		a.Log.Warn("no Node object with an address of this node: serving NodePorts on all of its addresses",
			"node", a.NodeName, "addresses", fmt.Sprint(host.NodePortAddrs))
		return
	}
	if missing := slices.DeleteFunc(slices.Clone(n.Addrs), func(p netip.Addr) bool { return slices.Contains(host.NodePortAddrs, p) }); a.NodePorts.Primary && len(missing) > 0 {
		a.Log.Warn("this machine lacks an address of its Node object (nodePortAddresses primary): no NodePort is served on that address",
			"node", a.NodeName, "missing", fmt.Sprint(missing), "addresses", fmt.Sprint(host.NodePortAddrs))
		return
	}
	a.Log.Info("serving NodePorts", "node", a.NodeName, "addresses", fmt.Sprint(host.NodePortAddrs))
}

// logPods warns if the Node object should identify local pods but has no pod networks.
func (a *Agent) logPods(n vip.Node) {
	if a.Pods.NodeCIDR && len(n.Pods.CIDRs) == 0 {
		a.Log.Warn("the Node object has no podCIDRs yet (detectLocalMode NodeCIDR): traffic from local pods cannot be identified, and "+
			"connections from outside to cluster IPs keep their source address", "node", a.NodeName)
	}
}
