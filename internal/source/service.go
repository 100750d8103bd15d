package source

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func convertService(s *corev1.Service, o Options) (cluster.Object, []Problem) {
	f, ok := identified(cluster.KindService, &s.ObjectMeta)
	if !ok {
		return nil, f.list
	}
	out := &cluster.Service{Key: f.ref.Key, Version: Version(s.ResourceVersion), Type: f.serviceType(s.Spec.Type), Ports: f.servicePorts(s.Spec.Ports)}
	if !s.CreationTimestamp.IsZero() {
		out.Created = uint32(s.CreationTimestamp.Unix())
	}
	if out.Type == cluster.ExternalName {
		out.External = &cluster.External{Name: f.externalName(s.Spec.ExternalName)}
		return out, f.list
	}
	out.ClusterIPs, out.Headless = f.clusterIPs(&s.Spec)
	if !o.NamesOnly {
		out.InternalLocal = f.isLocalPolicy(string(value(s.Spec.InternalTrafficPolicy, "")), "spec.internalTrafficPolicy")
		out.ExternalLocal = f.isLocalPolicy(string(s.Spec.ExternalTrafficPolicy), "spec.externalTrafficPolicy")
	}
	out.External = f.external(s, o)
	return out, f.list
}

func (f *findings) serviceType(t corev1.ServiceType) cluster.ServiceType {
	switch t {
	case corev1.ServiceTypeClusterIP, "": // empty means the API's default
		return cluster.ClusterIP
	case corev1.ServiceTypeNodePort:
		return cluster.NodePort
	case corev1.ServiceTypeLoadBalancer:
		return cluster.LoadBalancer
	case corev1.ServiceTypeExternalName:
		return cluster.ExternalName
	}
	f.add(string(t), wantServiceType, "spec.type")
	return cluster.ClusterIP
}

func (f *findings) externalName(s string) string {
	name := strings.TrimSuffix(s, ".")
	if !isTarget(name) {
		f.add(s, wantExternalName, "spec.externalName")
		return ""
	}
	return strings.Clone(name)
}

// clusterIPs parses spec.clusterIPs, or spec.clusterIP if the list is missing: in
// objects from before dual-stack, and in files.
func (f *findings) clusterIPs(spec *corev1.ServiceSpec) (ips []netip.Addr, headless bool) {
	list := spec.ClusterIPs
	if len(list) == 0 {
		list = []string{spec.ClusterIP}
	}
	if list[0] == corev1.ClusterIPNone {
		return nil, true
	}
	for i, s := range list {
		field := "spec.clusterIP"
		if len(spec.ClusterIPs) > 0 {
			field = at("spec.clusterIPs", i)
		}
		a, ok := parseAddr(s)
		switch {
		case !ok:
			f.add(s, wantClusterIP, field)
		case slices.ContainsFunc(ips, func(b netip.Addr) bool { return a.Is4() == b.Is4() }):
			f.add(s, wantOnePerFamily, field)
		default:
			ips = append(ips, a)
		}
	}
	return slices.Clip(ips), false
}

// external parses the addresses outside the cluster; nil if there are none.
func (f *findings) external(s *corev1.Service, o Options) *cluster.External {
	var e cluster.External
	for i, ip := range bounded(f, s.Spec.ExternalIPs, mostAddresses, wantFewAddresses, "spec.externalIPs") {
		a, ok := parseAddr(ip)
		if !ok || !isExternal(a) {
			f.add(ip, wantExternalIP, at("spec.externalIPs", i))
			continue
		}
		e.IPs = append(e.IPs, a)
	}
	for i := range bounded(f, s.Status.LoadBalancer.Ingress, mostAddresses, wantFewAddresses, "status.loadBalancer.ingress") {
		ip := s.Status.LoadBalancer.Ingress[i].IP
		if ip == "" {
			f.balancerName(s.Status.LoadBalancer.Ingress[i].Hostname, i, &e)
			continue
		}
		a, ok := parseAddr(ip)
		if !ok || !isExternal(a) {
			f.add(ip, wantExternalIP, at("status.loadBalancer.ingress", i)+".ip")
			continue
		}
		e.LB = append(e.LB, a)
		if value(s.Status.LoadBalancer.Ingress[i].IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeProxy {
			e.Proxied = append(e.Proxied, a)
		}
	}
	if !o.NamesOnly {
		e.Policy = f.policy(s)
	}
	if reflect.ValueOf(e).IsZero() {
		return nil
	}
	return &e
}

// balancerName parses the name of a load balancer without a usable address.
func (f *findings) balancerName(s string, i int, e *cluster.External) {
	if s == "" {
		return
	}
	name := strings.TrimSuffix(s, ".")
	if !isTarget(name) {
		f.add(s, wantBalancerName, at("status.loadBalancer.ingress", i)+".hostname")
		return
	}
	e.Hosts = append(e.Hosts, strings.Clone(name))
}

func (f *findings) servicePorts(list []corev1.ServicePort) []cluster.ServicePort {
	if len(list) == 0 {
		return nil
	}
	list = bounded(f, list, mostPorts, wantFewPorts, "spec.ports")
	out := make([]cluster.ServicePort, 0, len(list))
	for i := range list {
		p := &list[i]
		protocol, ok := f.protocol(p.Protocol, "spec.ports", i)
		number, ok2 := f.port(p.Port, "spec.ports", i)
		ok3 := f.portName(p.Name, "spec.ports", i)
		if !ok || !ok2 || !ok3 {
			continue
		}
		if slices.ContainsFunc(out, func(o cluster.ServicePort) bool {
			return o.Name == p.Name || o.Number == number && o.Protocol == protocol
		}) {
			f.add(p.Name, wantOtherPort, at("spec.ports", i)+".name")
			continue
		}
		nodePort := p.NodePort
		if nodePort < 0 || nodePort > 65535 {
			f.add(strconv.Itoa(int(nodePort)), wantNodePort, at("spec.ports", i)+".nodePort")
			nodePort = 0
		}
		out = append(out, cluster.ServicePort{
			Name: names.intern(p.Name), Number: number, NodePort: uint16(nodePort), Protocol: protocol,
		})
	}
	return slices.Clip(out)
}

func (f *findings) protocol(p corev1.Protocol, ports string, i int) (cluster.Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "": // empty means the API's default
		return cluster.TCP, true
	case corev1.ProtocolUDP:
		return cluster.UDP, true
	case corev1.ProtocolSCTP:
		return cluster.SCTP, true
	}
	f.add(string(p), wantProtocol, at(ports, i)+".protocol")
	return 0, false
}

func (f *findings) port(n int32, ports string, i int) (uint16, bool) {
	if n < 1 || n > 65535 {
		f.add(strconv.Itoa(int(n)), wantPort, at(ports, i)+".port")
		return 0, false
	}
	return uint16(n), true
}

func (f *findings) portName(s, ports string, i int) bool {
	if s != "" && !isLabel(s) {
		f.add(s, wantPortName, at(ports, i)+".name")
		return false
	}
	return true
}
