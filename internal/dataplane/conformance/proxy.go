//go:build linux

package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// plane is what is tested.
type plane = dataplane.Dataplane

// proxy is the dataplane of a node with the table that it should have.
type proxy struct {
	host  *netlab.Host
	open  func() (plane, error)
	self  vip.Node
	facts dataplane.Host
	table *vip.Table
	plane plane
	looks time.Duration // a second for each look at the kernel: a dataplane looks at times only
}

// masqueradeMark is kube-proxy's.
const masqueradeMark = 0x4000

// start opens a dataplane on each node and syncs it.
func (w *world) start() error {
	for i, node := range w.lab.Nodes {
		p := &proxy{
			host: node.Host, table: vip.NewTable(), self: vip.Node{
				Name: cluster.MakeAtom(nodeNames[i]), Zone: cluster.MakeAtom(zoneNames[i]),
			},
			facts: dataplane.Host{MasqueradeMark: masqueradeMark},
		}
		p.open = func() (plane, error) {
			opened, err := w.open()
			if err != nil {
				return nil, err
			}
			return w.mutated(opened), nil
		}
		for _, f := range w.families() {
			p.self.Addrs = append(p.self.Addrs, addrOf(node.Host, f))
		}
		if err := p.start(); err != nil {
			return err
		}
		w.proxies = append(w.proxies, p)
	}
	return w.configure(config{})
}

// become makes all dataplanes behave like a mutant, or properly again.
func (w *world) become(m mutant) error {
	w.mutant = m
	w.patience = patience
	if m.name != "" {
		w.patience = mutantPatience
	}
	return w.restart()
}

func (w *world) restart() error {
	for _, p := range w.proxies {
		if err := p.close(); err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
		if err := p.sync(); err != nil {
			return err
		}
	}
	return nil
}

// sync tells the dataplanes the whole tables.
func (w *world) sync() error {
	for _, p := range w.proxies {
		if err := p.sync(); err != nil {
			return err
		}
	}
	return nil
}

// configure gives the nodes another configuration: all Services are built again.
func (w *world) configure(c config) error {
	w.config = c
	for i, p := range w.proxies {
		p.facts.Host = w.hostFacts(i)
		p.self.MasqueradeAll, p.self.Pods, p.self.Guard = c.masqueradeAll, p.facts.Pods, w.guard(i)
		p.table = w.freshTable(i)
		if err := p.sync(); err != nil {
			return err
		}
	}
	return nil
}

// hostFacts are what a node knows of itself by the configuration.
func (w *world) hostFacts(node int) vip.Host {
	var h vip.Host
	switch w.config.pods {
	case byCIDRs:
		h.Pods.CIDRs = podNetworks
	case byBridge:
		h.Pods.Interface = podBridge
	case byPrefix:
		h.Pods.Prefix = podBridge[:2]
	}
	for _, f := range w.families() {
		primary := addrOf(w.lab.Nodes[node].Host, f)
		h.Addrs = append(h.Addrs, primary, w.bridge(node, f), loopback[f])
		h.NodePortAddrs = append(h.NodePortAddrs, primary)
		if node == 0 {
			h.Addrs = append(h.Addrs, secondAddr[f].Addr())
		}
		if w.config.nodePorts != everywhere {
			continue
		}
		h.NodePortAddrs = append(h.NodePortAddrs, w.bridge(node, f))
		if node == 0 {
			h.NodePortAddrs = append(h.NodePortAddrs, secondAddr[f].Addr())
		}
	}
	h.NodePortAll4, h.NodePortAll6 = w.config.nodePorts == everywhere, w.config.nodePorts == everywhere
	h.DropsUnused = w.lacks[DropsUnused] == ""
	switch {
	case w.config.wideCIDRs:
		h.ServiceCIDRs = wideCIDRs
	case w.config.serviceCIDRs:
		h.ServiceCIDRs = serviceCIDRs
	}
	if !w.config.unaware {
		h.Overlaps = vip.Overlaps(h.ServiceCIDRs, networksInUse())
	}
	slices.SortFunc(h.Addrs, netip.Addr.Compare)
	return h
}

// guardedPorts are those that nodes keep to themselves: of SSH and the kubelet.
var guardedPorts = []uint16{22, 10250}

// guard is what a node keeps from Services by the configuration.
func (w *world) guard(node int) (g vip.Guard) {
	if !w.config.guarded {
		return g
	}
	facts := w.hostFacts(node)
	g.ServiceCIDRs, g.Machine = facts.ServiceCIDRs, facts.Addrs
	for _, port := range guardedPorts {
		g.Ports = append(g.Ports, vip.Port{Number: port})
	}
	for i, n := range w.lab.Nodes {
		for _, f := range w.families() {
			if i == node {
				g.Known = append(g.Known, addrOf(n.Host, f))
			} else {
				g.Others = append(g.Others, addrOf(n.Host, f))
			}
		}
	}
	slices.SortFunc(g.Known, netip.Addr.Compare)
	slices.SortFunc(g.Others, netip.Addr.Compare)
	return g
}

// networksInUse are those of the nodes and pods.
func networksInUse() []vip.Network {
	var used []vip.Network
	for _, p := range podNetworks {
		used = append(used, vip.Network{Prefix: p, Use: vip.PodNetwork})
	}
	for _, p := range nodeNetworks {
		used = append(used, vip.Network{Prefix: p, Use: vip.ConnectedNetwork})
	}
	return used
}

func (p *proxy) start() error {
	return p.host.Do(func() (err error) {
		if p.plane, err = p.open(); err != nil {
			err = fmt.Errorf("open the dataplane of %s: %w", p.host.Name, err)
		}
		return err
	})
}

func (p *proxy) sync() error {
	return p.host.Do(func() error {
		if err := p.plane.Sync(context.Background(), p.facts, p.table); err != nil {
			return fmt.Errorf("sync the dataplane of %s: %w", p.host.Name, err)
		}
		return nil
	})
}

// set makes routes the frontends of a Service, and waits until the dataplane has finished.
func (p *proxy) set(key cluster.Key, routes []*vip.Route) error {
	changes := p.table.Set(key, routes)
	return p.host.Do(func() error {
		due, err := p.plane.Apply(context.Background(), changes)
		for err == nil && !due.IsZero() {
			time.Sleep(time.Until(due))
			var state dataplane.State
			state, err = p.plane.Tick(context.Background(), time.Now())
			due = state.Due
		}
		if err != nil {
			return fmt.Errorf("apply %d changes to the dataplane of %s: %w", len(changes), p.host.Name, err)
		}
		return nil
	})
}

func (p *proxy) close() error {
	if p.plane == nil {
		return nil
	}
	err := p.host.Do(p.plane.Close)
	p.plane = nil
	return err
}

// intact complains if a dataplane believes that somebody else changed its rules.
func (w *world) intact() error {
	for _, p := range w.proxies {
		err := p.host.Do(func() error {
			p.looks += time.Second
			state, err := p.plane.Tick(context.Background(), time.Now().Add(p.looks))
			if err == nil && state.Changed {
				err = fmt.Errorf("the dataplane of %s says that another program changed its rules", p.host.Name)
			}
			return errors.Join(err, state.Unseen)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// routesOf are the frontends of a route on a node.
func (w *world) routesOf(r route, node int) []*vip.Route {
	var all []*vip.Route
	for _, f := range w.families() {
		o := &vip.Route{
			Frontend: vip.Frontend{Addr: [2]netip.Addr{vip.AnyNode4, vip.AnyNode6}[f], Port: r.at.port, Protocol: r.protocol},
			Kind:     vip.NodePort,
			Owner:    vip.Owner{Service: key(r.name)},
			Policy:   r.policy,
		}
		if k := kindOf(r.at.host); k != "" {
			o.Addr, o.Kind = w.addr(r.at.host, f), kinds[k]
		}
		o.Cluster, o.Local = w.backendsOf(r.to, f, node), w.backendsOf(r.local, f, node)
		o.Affinity = r.affinity
		if r.restricted {
			o.Sources = []netip.Prefix{}
		}
		for _, host := range r.sources {
			a := w.addr(host, f)
			o.Sources = append(o.Sources, netip.PrefixFrom(a, a.BitLen()))
		}
		slices.SortFunc(o.Sources, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		all = append(all, o)
	}
	return all
}

func (w *world) backendsOf(list []destination, f family, node int) []vip.Backend {
	var backends []vip.Backend
	for _, d := range list {
		to := netip.AddrPortFrom(w.addr(d.host, f), d.port)
		backends = append(backends, vip.Backend{AddrPort: to, Local: home(d.host) == node})
	}
	sortBackends(backends)
	return backends
}

var kinds = map[string]vip.Kind{"cluster-ip": vip.ClusterIP, "external-ip": vip.ExternalIP, "load-balancer": vip.LoadBalancer}
