package peer

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// Service is a ClusterIP Service; address None makes it headless, and a second
// one dual-stack. A nil list of ports is a Service without ports.
func Service(namespace, name string, ports []corev1.ServicePort, ips ...string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ips[0], ClusterIPs: ips, Ports: ports},
	}
}

// ExternalName is a Service that points at a name.
func ExternalName(namespace, name, target string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: target},
	}
}

// Slice is an EndpointSlice of a Service with one port.
func Slice(namespace, service, suffix string, port int32, family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: service + "-" + suffix,
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: family, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(port), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
}

// Endpoint is one endpoint; an empty hostname is none.
func Endpoint(ready bool, hostname string, addrs ...string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: addrs, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)}}
	if hostname != "" {
		e.Hostname = ptr.To(hostname)
	}
	return e
}

// HTTP is the port that most test Services have.
var HTTP = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}

// Cluster is a small cluster with one of everything.
func Cluster() []runtime.Object {
	named := func(name string) runtime.Object { return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	return []runtime.Object{
		named("ns"), named("vacant"), named("kube-system"),
		Service("ns", "web", HTTP, "10.0.0.1"),
		Slice("ns", "web", "1", 8080, v4, Endpoint(true, "", "172.16.0.1"), Endpoint(false, "", "172.16.0.9")),
		Service("ns", "six", HTTP, "fd00:1::1"),
		Service("ns", "dual", HTTP, "10.0.0.2", "fd00:1::2"),
		Service("ns", "two", []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP},
		}, "10.0.0.3"),
		Service("ns", "unnamed", []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}, "10.0.0.4"),
		Service("ns", "noports", nil, "10.0.0.5"),
		Service("ns", "hdls", HTTP, "None"),
		Slice("ns", "hdls", "1", 8080, v4, Endpoint(true, "", "172.16.0.2"), Endpoint(true, "host3", "172.16.0.3"), Endpoint(false, "", "172.16.0.4")),
		Slice("ns", "hdls", "6", 8080, v6, Endpoint(true, "", "fd00:2::b")),
		Service("ns", "twins", HTTP, "None"),
		Slice("ns", "twins", "1", 8080, v4, Endpoint(true, "twin", "172.16.1.1"), Endpoint(true, "twin", "172.16.1.2")),
		Service("ns", "idle", HTTP, "None"),
		Slice("ns", "idle", "1", 8080, v4, Endpoint(false, "", "172.16.2.1")),
		ExternalName("ns", "ext", "www.example.net"),
		ExternalName("ns", "extin", "web.ns.svc.cluster.local"),
		ExternalName("ns", "extgone", "gone.ns.svc.cluster.local"),
		ExternalName("ns", "extip", "192.0.2.1"),
	}
}
