package source

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// convertImport converts a ServiceImport. An import of type ClusterSetIP without addresses
// waits for its controller, like a Service without ClusterIP.
func convertImport(s *mcsv1alpha1.ServiceImport) (cluster.Object, []Problem) {
	f, ok := identified(cluster.KindServiceImport, &s.ObjectMeta)
	if !ok {
		return nil, f.list
	}
	out := &cluster.Service{Key: f.ref.Key, Ports: f.importPorts(s.Spec.Ports)}
	switch s.Spec.Type {
	case mcsv1alpha1.Headless:
		out.Headless = true
	case mcsv1alpha1.ClusterSetIP, "":
		out.ClusterIPs = f.importIPs(s.Spec.IPs)
	default:
		f.add(string(s.Spec.Type), wantImportType, "spec.type")
		out.ClusterIPs = f.importIPs(s.Spec.IPs)
	}
	if !s.CreationTimestamp.IsZero() {
		out.Created = uint32(s.CreationTimestamp.Unix())
	}
	return &cluster.ServiceImport{Service: out}, f.list
}

func (f *findings) importIPs(list []string) (ips []netip.Addr) {
	for i, s := range list {
		a, ok := parseAddr(s)
		switch {
		case !ok:
			f.add(s, wantIP, at("spec.ips", i))
		case slices.ContainsFunc(ips, func(b netip.Addr) bool { return a.Is4() == b.Is4() }):
			f.add(s, wantOnePerFamily, at("spec.ips", i))
		default:
			ips = append(ips, a)
		}
	}
	return slices.Clip(ips)
}

// importPorts converts ports, which differ from those of a Service in irrelevant fields only.
func (f *findings) importPorts(list []mcsv1alpha1.ServicePort) []cluster.ServicePort {
	ports := make([]corev1.ServicePort, len(list))
	for i, p := range list {
		ports[i] = corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port}
	}
	return f.servicePorts(ports)
}

// convertImportedSlice converts an EndpointSlice of a ServiceImport. The slice may also belong to
// a Service of this cluster; convertSlice then makes a second object of it.
func convertImportedSlice(s *discoveryv1.EndpointSlice, o Options) (cluster.Object, []Problem) {
	id := s.Labels[mcsv1alpha1.LabelSourceCluster]
	read, problems := sliceOf(s, o, cluster.KindImportedSlice, mcsv1alpha1.LabelServiceName)
	slice, _ := read.(*cluster.Slice)
	if slice == nil {
		return nil, problems
	}
	if !isLabel(id) {
		f := findings{ref: cluster.Ref{Kind: cluster.KindImportedSlice, Key: slice.Key}, list: problems}
		f.add(id, wantLabel, "metadata.labels["+mcsv1alpha1.LabelSourceCluster+"]")
		return nil, f.list
	}
	slice.Cluster = cluster.MakeAtom(strings.Clone(id))
	return &cluster.ImportedSlice{Slice: slice}, problems
}

// IsImported reports whether an object is an EndpointSlice of a ServiceImport, to be
// converted with Options.Imported.
func IsImported(obj any) bool {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	return ok && s.Labels[mcsv1alpha1.LabelServiceName] != ""
}
