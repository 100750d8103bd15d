package bench

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/signpost-dns/signpost/test/peer"
)

// crowd is a headless Service of n endpoints in slices of a hundred.
func crowd(name string, n int) []k8sruntime.Object {
	return append([]k8sruntime.Object{peer.Service("ns", name, peer.HTTP, "None")}, endpointSlices(name, 0, n, 100)...)
}

// endpointSlices are EndpointSlices as the controller of a cluster writes them: every
// endpoint with its node, its zone and its pod. Endpoints are numbered from first.
func endpointSlices(service string, first, n, size int) []k8sruntime.Object {
	var objects []k8sruntime.Object
	for done := 0; done < n; done += size {
		var eps []discoveryv1.Endpoint
		for i := done; i < min(n, done+size); i++ {
			ep := peer.Endpoint(true, "", address(172, 16, first+i))
			ep.NodeName, ep.Zone = ptr.To(fmt.Sprintf("node-%04d", (first+i)%5000)), ptr.To(fmt.Sprintf("zone-%d", i%3))
			ep.TargetRef = &corev1.ObjectReference{
				Kind: "Pod", Namespace: "ns", Name: fmt.Sprintf("%s-7d5c9b4f6-%05d", service, i), UID: uid(first + i),
			}
			ep.Conditions.Serving, ep.Conditions.Terminating = ptr.To(true), ptr.To(false)
			eps = append(eps, ep)
		}
		s := peer.Slice("ns", service, fmt.Sprintf("%05d", done), 8080, discoveryv1.AddressTypeIPv4, eps...)
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service, UID: uid(first)}}
		s.Annotations = map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05Z"}
		dress(&s.ObjectMeta, "endpointslice-controller")
		objects = append(objects, s)
	}
	return objects
}

// services are n ClusterIP Services with one port, as kubectl applies them.
func services(n int) []k8sruntime.Object {
	var objects []k8sruntime.Object
	for i := range n {
		s := peer.Service("ns", fmt.Sprintf("service-%05d", i), peer.HTTP, address(10, 96, i))
		s.Spec.Selector = map[string]string{"app": s.Name}
		s.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: fmt.Sprintf(
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":%q,"namespace":"ns"},"spec":{"ports":[{"port":80}],"selector":{"app":%[1]q}}}`, s.Name)}
		dress(&s.ObjectMeta, "kubectl-client-side-apply")
		objects = append(objects, s)
	}
	return objects
}

// pods are n running pods of ReplicaSets.
func pods(n int) []k8sruntime.Object {
	var objects []k8sruntime.Object
	for i := range n {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns", Name: fmt.Sprintf("web-7d5c9b4f6-%05d", i),
				Labels: map[string]string{"app": "web", "pod-template-hash": "7d5c9b4f6", "tier": "front"},
			},
			Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%04d", i%5000), Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, PodIP: address(172, 16, i), PodIPs: []corev1.PodIP{{IP: address(172, 16, i)}},
			},
		}
		dress(&p.ObjectMeta, "kubelet")
		objects = append(objects, p)
	}
	return objects
}

// big is the cluster of the large measurements: n Services of m endpoints each.
func big(n, m int) []k8sruntime.Object {
	objects := services(n)
	for i := range n {
		objects = append(objects, endpointSlices(fmt.Sprintf("service-%05d", i), i*m, m, 100)...)
	}
	return objects
}

// address is the i-th below a.b.0.0 that ends neither in 0 nor in 255.
func address(a, b, i int) string {
	return fmt.Sprintf("%d.%d.%d.%d", a, b+i/(250*250), i/250%250, 1+i%250)
}

func uid(i int) types.UID { return types.UID(fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012x", i)) }

// dress adds what every object of a real API carries and no name needs.
func dress(m *metav1.ObjectMeta, manager string) {
	m.UID, m.CreationTimestamp = uid(len(m.Name)), metav1.NewTime(time.Unix(1767225600, 0))
	m.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", Time: &m.CreationTimestamp,
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{".":{},"f:note":{}},"f:labels":{".":{},"f:app":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"6ba7b810\"}":{}}},"f:spec":{"f:internalTrafficPolicy":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{}}},"f:selector":{},"f:type":{}}}`),
	}}
}
