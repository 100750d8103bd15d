package source

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// convertSlice reads an EndpointSlice. Its Service is the one that its label
// names; slices of nobody and those of host names (address type FQDN, to which
// the API gives no meaning) are not for us.
func convertSlice(s *discoveryv1.EndpointSlice, o Options) (cluster.Object, []Problem) {
	return sliceOf(s, o, cluster.KindSlice, discoveryv1.LabelServiceName)
}

// sliceOf reads a slice as one of that kind, whose owner the label names.
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
	// The controller names a slice after its Service: share the bytes.
	if strings.HasPrefix(key.Name, service) {
		service = key.Name[:len(service)]
	} else {
		service = strings.Clone(service)
	}
	return cluster.NewSlice(key, cluster.Key{Namespace: key.Namespace, Name: service},
		Version(s.ResourceVersion), f.slicePorts(s.Ports), f.endpoints(s.Endpoints, v4, o)), f.list
}

// slicePorts reads the ports. One without number stands for every port, which is
// nothing that an SRV record or a VIP could name; the API gives Services none of those.
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

// endpoints reads the endpoints, one for each address. The API's own controller gives
// each exactly one. Slices made by hand may have more, which are Additional.
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

// podID is the identity of what an endpoint stands for: the object's UID, for a pod that
// was made anew under the same name is another pod; by its name where no UID is given.
func podID(ref *corev1.ObjectReference) cluster.PodID {
	switch {
	case ref == nil || ref.UID == "" && ref.Name == "":
		return 0
	case ref.UID != "":
		return cluster.MakePodID(string(ref.UID))
	}
	return cluster.MakePodID(ref.Kind, ref.Namespace, ref.Name)
}

// nodeName reads the name of a node; no name if it is none.
func (f *findings) nodeName(s string, i int, field string) cluster.Atom {
	if s != "" && !isSubdomain(s) {
		f.add(s, wantNodeName, at("endpoints", i)+"."+field)
		return cluster.Atom{}
	}
	return cluster.MakeAtom(s)
}

// zone reads the name of a zone, which the API does not check everywhere.
func (f *findings) zone(s string, i int, field string) cluster.Atom {
	if !isLabelValue(s) {
		f.add(s, wantZone, at("endpoints", i)+"."+field)
		return cluster.Atom{}
	}
	return cluster.MakeAtom(s)
}

// mostHints is how many zones or nodes the API takes in the hints of an endpoint.
const mostHints = 8

// zones is the list of names in hints.
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

// hostname is the label of an endpoint below the name of its Service; empty when
// it has none of its own.
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

// conditions reads what the API says about missing ones: ready and serving are
// true, terminating is false.
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

// value is what p points to, or the default.
func value[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
