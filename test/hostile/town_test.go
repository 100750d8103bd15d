package hostile

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// Facts of the cluster. The addresses of node and pods are those that netlab gives.
const (
	nodeName    = "node-1"
	serviceCIDR = "10.96.0.0/16"
	podCIDR     = "10.244.0.0/16"

	kubeletPort, apiPort = 10250, 6443

	apiVIP, dnsVIP, webVIP, balancedVIP, stickyVIP, youngVIP = "10.96.0.1", "10.96.0.10", "10.96.0.20", "10.96.0.21", "10.96.0.22", "10.96.0.23"
	balancerIP, externalIP                                   = "203.0.113.10", "203.0.113.11"
	webNodePort, balancedNodePort, healthCheckPort           = 30080, 30081, 30999
)

// Ages of Services. Within a kind the oldest claim wins: what has an external address is older than all of the tenant's, and
// what has only a ClusterIP is younger, because that it keeps whatever its age.
const (
	old            = 1000
	tenantOldest   = 2000
	tenantYoungest = 8000
	young          = 9000
)

// A town is what is in a cluster beside the tenant: a node and the Services of others.
type town struct {
	node netip.Addr // 127.0.0.1-like addresses are not it
	pods []netip.Addr
}

// infrastructure is what no namespace has.
func (w town) infrastructure() []runtime.Object {
	objects := []runtime.Object{
		&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: nodeName},
			Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
			Status: corev1.NodeStatus{
				Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: w.node.String()}},
				DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
			},
		},
		&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{serviceCIDR}}},
	}
	for _, name := range []string{"default", "kube-system", "bank", tenantNamespace} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return objects
}

// victims are the Services of others, one of each kind, led to these pods.
func (w town) victims(ready ...int) []runtime.Object {
	kubernetes := victim("default", "kubernetes", apiVIP, young, tcp("https", 443, 0))
	dns := victim("kube-system", "kube-dns", dnsVIP, young, tcp("dns-tcp", 53, 0), corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP})
	web := victim("bank", "web", webVIP, old, tcp("http", 80, webNodePort), corev1.ServicePort{Name: "udp", Port: 80, Protocol: corev1.ProtocolUDP, NodePort: webNodePort})
	web.Spec.Type, web.Spec.ExternalIPs = corev1.ServiceTypeNodePort, []string{externalIP}
	balanced := victim("bank", "balanced", balancedVIP, old, tcp("http", 80, balancedNodePort))
	balanced.Spec.Type, balanced.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	balanced.Spec.HealthCheckNodePort, balanced.Spec.LoadBalancerSourceRanges = healthCheckPort, []string{"0.0.0.0/0"}
	balanced.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: balancerIP}}
	sticky := victim("bank", "sticky", stickyVIP, young, tcp("http", 80, 0))
	sticky.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	sticky.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(int32(10800))}}
	named := victim("bank", "db", "None", young, tcp("http", 80, 0))
	objects := []runtime.Object{
		kubernetes, slice("default", "kubernetes", "https", apiPort, discoveryv1.Endpoint{Addresses: []string{w.node.String()}}),
		dns, web, balanced, sticky, victim("bank", "young", youngVIP, young, tcp("http", 80, 0)), named,
	}
	for _, s := range []*corev1.Service{dns, web, balanced, sticky, named} {
		objects = append(objects, w.served(s, ready...))
	}
	return append(objects, w.young(ready...))
}

// young is the slice of the Service that the tests change.
func (w town) young(ready ...int) runtime.Object {
	return w.served(victim("bank", "young", youngVIP, young, tcp("http", 80, 0)), ready...)
}

// served is the slice of a Service with these pods.
func (w town) served(s *corev1.Service, ready ...int) *discoveryv1.EndpointSlice {
	var endpoints []discoveryv1.Endpoint
	for _, i := range ready {
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses: []string{w.pods[i].String()}, NodeName: ptr.To(nodeName), Hostname: ptr.To(fmt.Sprintf("pod-%d", i)),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: fmt.Sprintf("pod-%d", i), UID: types.UID(fmt.Sprintf("%s-%d", s.Name, i))},
		})
	}
	out := slice(s.Namespace, s.Name, "", podPort, endpoints...)
	out.Ports = nil
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Port: ptr.To(int32(podPort)), Protocol: ptr.To(p.Protocol)})
	}
	return out
}

const podPort = 8080

func tcp(name string, number, nodePort int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, Protocol: corev1.ProtocolTCP, NodePort: nodePort}
}

func victim(namespace, name, ip string, created int64, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Unix(created, 0))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: ports},
	}
}

func slice(namespace, service, port string, number int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To(port), Port: ptr.To(number), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
}
