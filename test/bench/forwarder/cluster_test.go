package forwarder

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// size is how large a cluster is.
type size struct{ services, endpoints int }

func (s size) String() string { return fmt.Sprintf("%d×%d", s.services, s.endpoints) }

// Ports of all Services and pods.
const (
	port       = 80
	targetPort = 8080
)

// ipv4 is the n-th address from a base on.
func ipv4(base string, n int) string {
	b := netip.MustParseAddr(base).As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}).String()
}

// bulk are the Services that nobody dials, with what the API adds to objects, and their
// endpoints, which are nowhere.
func bulk(s size) []runtime.Object {
	var out []runtime.Object
	for i := range s.services {
		name := fmt.Sprintf("service-%05d", i)
		var addrs []string
		for e := range s.endpoints {
			addrs = append(addrs, ipv4("100.64.0.1", i*s.endpoints+e))
		}
		out = append(out, service(name, ipv4("10.96.0.1", i), 1000+int64(i)), endpoints(name, addrs...))
	}
	return out
}

// judged are the Services by which is told what is in effect. They are the youngest, so
// that they come last where there is an order.
func vip(n int) string        { return ipv4("10.127.0.1", n) }
func judgedName(n int) string { return fmt.Sprintf("judged-%03d", n) }
func judged(n int) *corev1.Service {
	return service(judgedName(n), vip(n), 1<<30+int64(n))
}

func service(name, ip string, created int64) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(created, 0))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Name: "http", Port: port, Protocol: corev1.ProtocolTCP}},
		},
	}
	dress(&s.ObjectMeta, "kubectl-client-side-apply")
	return s
}

// endpoints are the EndpointSlice of a Service, as the controller writes it.
func endpoints(name string, addrs ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name + "-x7z2p",
			Labels: map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(targetPort)), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for i, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{a}, NodeName: ptr.To(fmt.Sprintf("node-%d", i%50)), Zone: ptr.To("zone-a"),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: fmt.Sprintf("%s-7d5c9b4f6-%05d", name, i), UID: types.UID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")},
		})
	}
	dress(&s.ObjectMeta, "kube-controller-manager")
	return s
}

// dress adds what every object of a real API carries.
func dress(m *metav1.ObjectMeta, manager string) {
	m.UID = types.UID("6ba7b810-9dad-11d1-80b4-" + m.Name)
	m.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", Time: &m.CreationTimestamp,
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{".":{},"f:note":{}},"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:internalTrafficPolicy":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{}}},"f:selector":{},"f:type":{}}}`),
	}}
}
