package signpost

import (
	"fmt"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// absent says why a name does not exist. It goes the way of forward and
// reverseNode once more and stops where they did.
func (s *Signpost) absent(z *zone, name, rest string) string {
	switch {
	case isReverse(name):
		return s.absentAddress(name)
	case strings.IndexByte(rest, '\\') >= 0:
		return "no name of Kubernetes has such a byte"
	case z.tree == outsideTree:
		return "clients outside the cluster see SERVICE.NAMESPACE of Services with external addresses, their ports and headless endpoints"
	}
	rest, label := cutLast(rest)
	switch label {
	case "svc":
		return s.absentService(rest)
	case "pod":
		return s.absentPod(rest)
	}
	return fmt.Sprintf("below a zone there are svc, pod, dns and dns-version, and no %q", label)
}

func (s *Signpost) absentAddress(name string) string {
	p, ok := parseReverse(name)
	switch {
	case !ok:
		return "it spells no address"
	case !p.IsSingleIP():
		return fmt.Sprintf("no address in %v is a ClusterIP or a ready endpoint", p)
	case s.store.Owners(p.Addr()).Valid():
		return fmt.Sprintf("the option ptr gives endpoints like %v no name", p.Addr())
	}
	return fmt.Sprintf("%v is no ClusterIP and no ready endpoint", p.Addr())
}

func (s *Signpost) absentService(name string) string {
	name, namespace := cutLast(name)
	if !s.store.Namespace(namespace) {
		return fmt.Sprintf("no namespace %q is there (or selected by the stanza's options)", namespace)
	}
	name, service := cutLast(name)
	e := s.store.Service(namespace, service)
	switch kind := serviceKind(e); {
	case e == nil:
		return fmt.Sprintf("no Service %q is in the namespace %q (or selected by the stanza's options)%s", service, namespace, s.namesakes(service))
	case kind == missing:
		return withoutName(e)
	case kind == clusterIP && s.ignoreEmpty && !e.HasReady():
		return fmt.Sprintf("no endpoint of %v is ready, and ignore empty_service is set", e.Service.Key)
	case kind == external:
		return fmt.Sprintf("Service %v is an ExternalName, which has nothing below it", e.Service.Key)
	default:
		return s.absentBelow(e, kind, name)
	}
}

// mostNamesakes is how many namespaces namesakes names.
const mostNamesakes = 3

// namesakes says in which namespaces there is a Service of a name: people forget the namespace.
func (s *Signpost) namesakes(service string) string {
	var in []string
	for namespace := range s.store.Namespaces() {
		if s.store.Service(namespace, service) == nil {
			continue
		}
		if len(in) == mostNamesakes {
			in = append(in, "and more")
			break
		}
		in = append(in, namespace)
	}
	if len(in) == 0 {
		return ""
	}
	slices.Sort(in[:min(len(in), mostNamesakes)])
	return "; one of this name is in " + strings.Join(in, ", ")
}

// withoutName says why a Service that is there has no name.
func withoutName(e *cluster.Entry) string {
	switch {
	case e.Service.Type == cluster.ExternalName:
		return fmt.Sprintf("the externalName of Service %v is no DNS name", e.Service.Key)
	case e.Service.Headless:
		first, all := someEndpoints(e, func(*cluster.Endpoint) bool { return true })
		text := fmt.Sprintf("headless Service %v has no ready endpoint (%d that are not, in %d endpointslices)", e.Service.Key, all, len(e.Slices))
		for i, ep := range first {
			text += []string{": ", "; "}[min(i, 1)] + endpointWords(ep)
		}
		return text
	}
	return fmt.Sprintf("Service %v has no ClusterIP yet", e.Service.Key)
}

func (s *Signpost) absentBelow(e *cluster.Entry, kind nodeKind, name string) string {
	rest, label := cutLast(name)
	if label == zoneLabel && s.zonal {
		return fmt.Sprintf("below _zone of a headless Service there are pin and prefer, and no %q", rest)
	}
	if _, ok := protocolOf(label); ok {
		return fmt.Sprintf("Service %v has no such port; with names it has: %s", e.Service.Key, list(portNames(e, kind)))
	}
	if rest != "" {
		return fmt.Sprintf("left of an endpoint's label, or of _tcp, _udp and _sctp, there is nothing: %q", rest)
	}
	var ready []string
	for ep := range e.Endpoints() {
		switch {
		case ep.Has(cluster.Repeated) && ep.Hostname == "": // it has the label of an earlier one
		case ep.Has(cluster.Ready):
			ready = append(ready, endpointLabel(ep))
		case endpointLabel(ep) == label:
			return fmt.Sprintf("of Service %v, endpoint %s", e.Service.Key, endpointWords(ep))
		}
	}
	return fmt.Sprintf("no endpoint of Service %v is called %q; ready ones: %s", e.Service.Key, label, list(ready))
}

// portNames are the ports that have names in DNS, as they are asked for.
func portNames(e *cluster.Entry, kind nodeKind) (names []string) {
	seen := map[string]bool{}
	add := func(name string, p cluster.Protocol) {
		if text := "_" + name + "._" + p.String(); name != "" && !seen[text] {
			seen[text] = true
			names = append(names, text)
		}
	}
	if kind == clusterIP {
		for _, p := range e.Service.Ports {
			add(p.Name, p.Protocol)
		}
		return names
	}
	for ep, ports := range e.Endpoints() {
		for _, p := range ports {
			if ep.Has(cluster.Ready) {
				add(p.Name, p.Protocol)
			}
		}
	}
	return names
}

func (s *Signpost) absentPod(name string) string {
	name, namespace := cutLast(name)
	label := strings.TrimPrefix(name, ".")
	switch addr := parseDashed(label); {
	case !s.store.Namespace(namespace):
		return fmt.Sprintf("no namespace %q is there (or selected by the stanza's options)", namespace)
	case s.pods == podsDisabled:
		return "names of pods are off (pods disabled)"
	case !addr.IsValid():
		return fmt.Sprintf("%q is no address with dashes", label)
	default:
		return fmt.Sprintf("no running pod in the namespace %q has the address %v", namespace, addr)
	}
}
