package signpost

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Metadata implements metadata.Provider. The labels have the names and the values
// of the plugin kubernetes, so that expressions and log formats go on to work after
// the word in the Corefile has changed.
func (s *Signpost) Metadata(ctx context.Context, state request.Request) context.Context {
	if pod := s.clientPod(state); pod != nil {
		set(ctx, "client-namespace", pod.Namespace)
		set(ctx, "client-pod-name", pod.Name)
		for key, value := range pod.Labels.All() {
			set(ctx, "client-label/"+key, value)
		}
	}
	z, rest := match(s.zones, state.Name())
	if z == nil || z.tree == outsideTree {
		return ctx
	}
	p, err := parseParts(rest, z.tree == clustersetTree, s.zonal)
	if err != nil {
		set(ctx, "parse-error", err.Error())
		return ctx
	}
	set(ctx, "port-name", p.port)
	set(ctx, "protocol", p.protocol)
	set(ctx, "endpoint", p.endpoint)
	if z.tree == clustersetTree {
		set(ctx, "cluster", p.cluster)
	}
	if s.zonal {
		set(ctx, "zone", p.zone)
	}
	set(ctx, "service", p.service)
	set(ctx, "namespace", p.namespace)
	set(ctx, "kind", p.kind)
	return ctx
}

func set(ctx context.Context, label, value string) {
	metadata.SetValueFunc(ctx, "kubernetes/"+label, func() string { return value })
}

// parts are what the labels of a name say, whether it exists or not.
type parts struct {
	kind                               string // svc or pod
	namespace, service, port, protocol string
	endpoint, cluster                  string
	zone                               string // of a _zone name
}

var errName = errors.New("invalid query name")

// parseParts reads a name relative to its zone, in lower case, by the grammar of
// the plugin kubernetes: unlike the name tree it takes any label anywhere.
func parseParts(name string, clusterset, zonal bool) (p parts, err error) {
	if name == "" || name == "svc" || name == "pod" {
		return parts{}, nil
	}
	name, p.kind = cutLast(name)
	if p.kind != "svc" && p.kind != "pod" {
		return parts{}, errName
	}
	name, p.namespace = cutLast(name)
	name, p.service = cutLast(name)
	switch labels := strings.Count(name, "."); {
	case labels == 0:
		p.endpoint = name
	case labels == 1 && clusterset && name[0] != '_' && !strings.Contains(name, "._"):
		p.endpoint, p.cluster, _ = strings.Cut(name, ".")
	case labels == 1:
		p.port, p.protocol, _ = strings.Cut(name, ".")
		p.port, p.protocol = strings.TrimPrefix(p.port, "_"), strings.TrimPrefix(p.protocol, "_")
	default:
		rest, anchor := cutLast(name)
		zone, how := cutLast(rest)
		if !zonal || clusterset || p.kind != "svc" || anchor != zoneLabel || how != "pin" && how != "prefer" {
			return parts{}, errName
		}
		p.zone = zone
	}
	return p, nil
}

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
