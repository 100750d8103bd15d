package source

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// convertSlice converts an EndpointSlice. Its label names its Service. Slices without that
// label are ignored, and so are slices of host names (address type FQDN, to which
// the API gives no meaning).
func convertSlice(s *discoveryv1.EndpointSlice, o Options) (cluster.Object, []Problem) {
	return sliceOf(s, o, cluster.KindSlice, discoveryv1.LabelServiceName)
}

// sliceOf converts a slice to the given kind; label holds the name of its owner.
func sliceOf(s *discoveryv1.EndpointSlice, o Options, kind cluster.Kind, label string) (cluster.Object, []Problem) {
	service := s.Labels[label]
	if service == "" || s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil, nil
	}
	f, ok := identified(kind, &s.ObjectMeta)
	v4 := s.AddressType == discoveryv1.AddressTypeIPv4
	if !v4 && s.AddressType != discoveryv1.AddressTypeIPv6 {
		f.add(string(s.AddressType), wantAddressType, "addressType")
		ok = false
	}
	if !isLabel(service) {
		f.add(service, wantLabel, "metadata.labels["+label+"]")
		ok = false
	}
	if !ok {
		return nil, f.list
	}
	key := f.ref.Key
	// The controller derives the name of a slice from its Service: share the bytes.
	if strings.HasPrefix(key.Name, service) {
		service = key.Name[:len(service)]
	} else {
		service = strings.Clone(service)
	}
	return cluster.NewSlice(key, cluster.Key{Namespace: key.Namespace, Name: service},
		Version(s.ResourceVersion), f.slicePorts(s.Ports), f.endpoints(s.Endpoints, v4, o)), f.list
}

// slicePorts converts the ports. A port without number means every port, which neither
// an SRV record nor a VIP can express; the API writes none for Services.
func (f *findings) slicePorts(list []discoveryv1.EndpointPort) []cluster.Port {
	if len(list) == 0 {
		return nil
	}
	out := make([]cluster.Port, 0, len(list))
	for i := range list {
		p := &list[i]
		if p.Port == nil {
			continue
		}
		name := value(p.Name, "")
		protocol, ok := f.protocol(value(p.Protocol, corev1.ProtocolTCP), "ports", i)
		number, ok2 := f.port(*p.Port, "ports", i)
		ok3 := f.portName(name, "ports", i)
		if !ok || !ok2 || !ok3 {
			continue
		}
		if slices.ContainsFunc(out, func(o cluster.Port) bool { return o.Name == name }) {
			f.add(name, wantOtherPort, at("ports", i)+".name")
			continue
		}
		out = append(out, cluster.Port{Name: names.intern(name), Number: number, Protocol: protocol})
	}
	return slices.Clip(out)
}

// endpoints converts the endpoints, one per address. The API's own controller writes
// exactly one address per endpoint. Further addresses, in slices made by hand, are Additional.
func (f *findings) endpoints(list []discoveryv1.Endpoint, v4 bool, o Options) []cluster.Endpoint {
	want := wantIPv6
	if v4 {
		want = wantIPv4
	}
	out := make([]cluster.Endpoint, 0, len(list))
	for i := range list {
		e := &list[i]
		ep := cluster.Endpoint{
			Zone:       f.zone(value(e.Zone, ""), i, "zone"),
			Conditions: conditions(&e.Conditions),
			Pod:        podID(e.TargetRef),
		}
		if !o.NamesOnly {
			ep.Node = f.nodeName(value(e.NodeName, ""), i, "nodeName")
		}
		if h := e.Hints; h != nil && !o.NamesOnly {
			ep.ForZones, ep.ForNodes = f.zones(h.ForZones, i), f.nodes(h.ForNodes, i)
		}
		hostname := f.hostname(e, i, o)
		for j, s := range e.Addresses {
			a, ok := parseAddr(s)
			switch {
			case !ok || a.Is4() != v4:
				f.add(s, want, at(at("endpoints", i)+".addresses", j))
			case isLocal(a):
				f.add(s, wantPublicIP, at(at("endpoints", i)+".addresses", j))
			default:
				ep.Addr, ep.Hostname = a, hostname
				if j > 0 {
					ep.Conditions |= cluster.Additional
				}
				out = append(out, ep)
			}
		}
	}
	return slices.Clip(out)
}

// podID returns the identity of an endpoint's object: its UID, because a recreated pod with
// the same name is a different pod, or its name if there is no UID.
func podID(ref *corev1.ObjectReference) cluster.PodID {
	switch {
	case ref == nil || ref.UID == "" && ref.Name == "":
		return 0
	case ref.UID != "":
		return cluster.MakePodID(string(ref.UID))
	}
	return cluster.MakePodID(ref.Kind, ref.Namespace, ref.Name)
}

// nodeName parses the name of a node; invalid names count as none.
func (f *findings) nodeName(s string, i int, field string) cluster.Atom {
	if s != "" && !isSubdomain(s) {
		f.add(s, wantNodeName, at("endpoints", i)+"."+field)
		return cluster.Atom{}
	}
	return cluster.MakeAtom(s)
}

// zone parses the name of a zone, which the API does not validate everywhere.
func (f *findings) zone(s string, i int, field string) cluster.Atom {
	if !isLabelValue(s) {
		f.add(s, wantZone, at("endpoints", i)+"."+field)
		return cluster.Atom{}
	}
	return cluster.MakeAtom(s)
}

// mostHints is the API's limit of zones or nodes in the hints of an endpoint.
const mostHints = 8

// zones parses the zone names in hints.
func (f *findings) zones(list []discoveryv1.ForZone, i int) cluster.Atom {
	names := make([]string, 0, mostHints)
	for _, z := range list[:min(len(list), mostHints)] {
		if f.zone(z.Name, i, "hints.forZones") != (cluster.Atom{}) {
			names = append(names, z.Name)
		}
	}
	return cluster.MakeAtom(strings.Join(names, ","))
}

func (f *findings) nodes(list []discoveryv1.ForNode, i int) cluster.Atom {
	names := make([]string, 0, mostHints)
	for _, n := range list[:min(len(list), mostHints)] {
		if f.nodeName(n.Name, i, "hints.forNodes") != (cluster.Atom{}) {
			names = append(names, n.Name)
		}
	}
	return cluster.MakeAtom(strings.Join(names, ","))
}

// hostname returns the label of an endpoint below the name of its Service, or "" if the
// endpoint has none.
func (f *findings) hostname(e *discoveryv1.Endpoint, i int, o Options) string {
	if h := value(e.Hostname, ""); h != "" {
		if isLabel(h) {
			return strings.Clone(h)
		}
		f.add(h, wantHostname, at("endpoints", i)+".hostname")
		return ""
	}
	if o.PodNames && e.TargetRef != nil && e.TargetRef.Kind == "Pod" && isLabel(e.TargetRef.Name) {
		return strings.Clone(e.TargetRef.Name)
	}
	return ""
}

// conditions converts the conditions, with the API's defaults for missing ones: ready and
// serving are true, terminating is false.
func conditions(c *discoveryv1.EndpointConditions) cluster.Conditions {
	var out cluster.Conditions
	if value(c.Ready, true) {
		out |= cluster.Ready
	}
	if value(c.Serving, true) {
		out |= cluster.Serving
	}
	if value(c.Terminating, false) {
		out |= cluster.Terminating
	}
	return out
}

// value dereferences p or returns the default.
func value[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
