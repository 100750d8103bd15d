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

// Metadata implements metadata.Provider. The labels have the names and values of the
// plugin kubernetes, so that expressions and log formats keep working when the word in
// the Corefile changes.
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

// parts holds what the labels of a name say, whether the name exists or not.
type parts struct {
	kind                               string // svc or pod
	namespace, service, port, protocol string
	endpoint, cluster                  string
	zone                               string // of a _zone name
}

var errName = errors.New("invalid query name")

// parseParts parses a name relative to its zone, in lower case, by the grammar of the
// plugin kubernetes. Unlike the name tree, that grammar accepts any label anywhere.
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

// AutoPath implements autopath.AutoPather. It returns the search list of the client's pod
// as the kubelet wrote it: namespace, svc, cluster domain, then the search domains of this
// machine's resolv.conf. It returns nil if the pod is unknown. It needs `pods verified`.
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
	return append(list, "") // the name itself: autopath requires this last entry
}

// clientPod returns the client's pod, or nil. It returns nil if pods of several namespaces
// share the address, as hostNetwork pods do: the search list of the wrong pod would be a
// wrong answer.
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

// searchList returns the search domains of a resolv.conf, or none if the file is missing.
// A pod with dnsPolicy ClusterFirst has the domains of its node behind its own. The pod of
// this server has dnsPolicy Default, so its file has exactly these.
func searchList(file string) []string {
	rc, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil
	}
	plugin.Zones(rc.Search).Normalize()
	return rc.Search
}
