package signpost

import (
	"net/netip"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// AutoPath implements autopath.AutoPather: the search list of the pod that asks, as
// its kubelet wrote it (namespace, svc, cluster domain, then what this machine's
// resolv.conf searches); nil where it cannot be known. It needs `pods verified`.
func (s *Signpost) AutoPath(state request.Request) []string {
	z, _ := match(s.zones, state.Name())
	if z == nil || z.reverse || z.tree != clusterTree {
		return nil
	}
	pod := s.clientPod(state)
	if pod == nil {
		return nil
	}
	list := append(make([]string, 0, 4+len(s.search)), join(pod.Namespace+".svc", z.name), join("svc", z.name), z.name)
	list = append(list, s.search...)
	return append(list, "") // the name as it is: autopath wants this end
}

// clientPod returns the pod that asks, or nil: also if pods of several namespaces
// share the address, as those in the network of a node do, because the search list
// of another pod would be a wrong answer.
func (s *Signpost) clientPod(state request.Request) *cluster.Pod {
	if s.pods != podsVerified {
		return nil
	}
	a, err := netip.ParseAddr(state.IP())
	if err != nil {
		return nil
	}
	var found *cluster.Pod
	for p := range s.store.PodsAt(a.Unmap()) {
		if found != nil && found.Namespace != p.Namespace {
			return nil
		}
		found = p
	}
	return found
}

// searchList reads the search domains of a resolv.conf; none if there is no such
// file. A pod with dnsPolicy ClusterFirst gets those of its node behind its own, and
// this server's pod, with dnsPolicy Default, has exactly them.
func searchList(file string) []string {
	rc, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil
	}
	plugin.Zones(rc.Search).Normalize()
	return rc.Search
}
