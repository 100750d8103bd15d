package source

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// convertNamespace converts a Namespace. A Namespace that is being deleted still exists, and so do its names.
func convertNamespace(n *corev1.Namespace) (cluster.Object, []Problem) {
	f, ok := identified(cluster.KindNamespace, &n.ObjectMeta)
	if !ok {
		return nil, f.list
	}
	return &cluster.Namespace{Name: names.intern(n.Name)}, f.list
}

// convertPod converts pods that run and have an address. A pod that has ended keeps
// its address in the API although another pod may use it by now.
func convertPod(p *corev1.Pod, o Options) (cluster.Object, []Problem) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil, nil
	}
	f, ok := identified(cluster.KindPod, &p.ObjectMeta)
	if !ok {
		return nil, f.list
	}
	ips, one := p.Status.PodIPs, len(p.Status.PodIPs) == 0 // files may set podIP only
	if one && p.Status.PodIP != "" {
		ips = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	var addrs []netip.Addr
	for i := range ips {
		if a, ok := parseAddr(ips[i].IP); ok {
			addrs = append(addrs, a)
		} else if one {
			f.add(ips[i].IP, wantIP, "status.podIP")
		} else {
			f.add(ips[i].IP, wantIP, at("status.podIPs", i)+".ip")
		}
	}
	if len(addrs) == 0 {
		return nil, f.list
	}
	out := &cluster.Pod{Key: f.ref.Key, Addrs: slices.Clip(addrs)}
	if o.PodLabels {
		out.Labels = cluster.MakeLabels(p.Labels)
	}
	return out, f.list
}

// convertNode converts a Node with its IP addresses, InternalIP first: the node's kubelet
// and the pods in the host network use that one.
func convertNode(n *corev1.Node) (cluster.Object, []Problem) {
	f, ok := identified(cluster.KindNode, &n.ObjectMeta)
	if !ok {
		return nil, f.list
	}
	out := &cluster.Node{Name: strings.Clone(n.Name), Leaving: leaving(n)}
	if zone := n.Labels[corev1.LabelTopologyZone]; isLabelValue(zone) {
		out.Zone = cluster.MakeAtom(zone)
	} else {
		f.add(zone, wantZone, "metadata.labels["+corev1.LabelTopologyZone+"]")
	}
	var external []netip.Addr
	for i := range n.Status.Addresses {
		na := &n.Status.Addresses[i]
		if na.Type != corev1.NodeInternalIP && na.Type != corev1.NodeExternalIP {
			continue
		}
		a, ok := parseAddr(na.Address)
		switch {
		case !ok:
			f.add(na.Address, wantIP, at("status.addresses", i)+".address")
		case na.Type == corev1.NodeInternalIP:
			out.Addrs = append(out.Addrs, a)
		default:
			external = append(external, a)
		}
	}
	out.Addrs = append(out.Addrs, external...)
	if p := n.Status.DaemonEndpoints.KubeletEndpoint.Port; p > 0 && p <= 65535 {
		out.KubeletPort = uint16(p)
	}
	out.PodCIDRs = f.cidrs(podCIDRs(&n.Spec), "spec.podCIDRs")
	return out, f.list
}

// toBeDeleted is the taint that the cluster autoscaler sets before it deletes a node.
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// leaving reports whether a node is about to be deleted (KEP-3836).
func leaving(n *corev1.Node) bool {
	return n.DeletionTimestamp != nil || slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == toBeDeleted })
}

// podCIDRs returns the networks of a node's pods; files may set podCIDR only.
func podCIDRs(spec *corev1.NodeSpec) []string {
	if len(spec.PodCIDRs) == 0 && spec.PodCIDR != "" {
		return []string{spec.PodCIDR}
	}
	return spec.PodCIDRs
}

func convertServiceCIDR(c *networkingv1.ServiceCIDR) (cluster.Object, []Problem) {
	f, ok := identified(cluster.KindServiceCIDR, &c.ObjectMeta)
	if !ok {
		return nil, f.list
	}
	return &cluster.ServiceCIDR{Name: strings.Clone(c.Name), CIDRs: f.cidrs(c.Spec.CIDRs, "spec.cidrs")}, f.list
}

// cidrs parses networks.
func (f *findings) cidrs(list []string, field string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range list {
		p, ok := parsePrefix(text)
		if !ok {
			f.add(text, wantCIDR, at(field, i))
			continue
		}
		out = append(out, p)
	}
	return slices.Clip(out)
}
