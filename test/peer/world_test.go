package peer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/signpost-dns/signpost/test/api"
)

// world is the state of a cluster that changes at random, as an API server would
// let it: names are valid, a ClusterIP belongs to one Service, and what lives in a
// namespace needs the namespace.
type world struct {
	*rand.Rand
	api     *api.Server
	objects map[string]runtime.Object
	next    int // of everything that must be new
	puts    int64
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), api: api.New(t), objects: map[string]runtime.Object{}}
	w.put(Cluster()...)
	w.put(oddities()...)
	return w
}

func key(o runtime.Object) string {
	m := o.(metav1.Object)
	return fmt.Sprintf("%T %s/%s", o, m.GetNamespace(), m.GetName())
}

func (w *world) put(objects ...runtime.Object) {
	for _, o := range objects {
		w.puts++
		o.(metav1.Object).SetGeneration(w.puts) // so that the spec knows which of two slices is newer
		w.objects[key(o)] = o
	}
	w.api.Put(objects...)
}

func (w *world) delete(o runtime.Object) {
	delete(w.objects, key(o))
	w.api.Delete(o)
}

// oddities are what few clusters have, and each deviation of the peer that random
// states might miss.
func oddities() []runtime.Object {
	pod := Endpoint(true, "", "172.16.3.1")
	pod.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "shop-0"}
	dots := Endpoint(true, "", "172.16.3.2")
	dots.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "shop.1"}
	moved, stale := Endpoint(false, "moved-0", "172.16.3.4"), Endpoint(true, "moved-0", "172.16.3.4")
	moved.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "moved-0"}
	stale.TargetRef = moved.TargetRef
	orphan := Slice("ns", "orphan", "1", 8080, discoveryv1.AddressTypeIPv4, Endpoint(true, "", "172.16.3.9"))
	orphan.Labels = nil
	return append(sharedAddresses(), []runtime.Object{
		Service("ns", "shop", HTTP, "None"),
		Slice("ns", "shop", "1", 8080, discoveryv1.AddressTypeIPv4, pod, dots),
		orphan,
		Slice("ns", "lonely", "1", 8080, discoveryv1.AddressTypeIPv4, Endpoint(true, "", "172.16.3.8")), // its Service is not there
		Service("ns", "fqdn", HTTP, "None"),
		Slice("ns", "fqdn", "1", 8080, discoveryv1.AddressTypeFQDN, Endpoint(true, "", "www.example.net")),
		ExternalName("ns", "extloop", "extloop.ns.svc.cluster.local"),
		ExternalName("ns", "exta", "extb.ns.svc.cluster.local"),
		ExternalName("ns", "extb", "exta.ns.svc.cluster.local"),
		ExternalName("ns", "extchain", "extin.ns.svc.cluster.local"),
		ExternalName("ns", "extalias", "alias.example.net"),
		ExternalName("ns", "extnowhere", "gone.example.net"),
		ExternalName("ns", "extrefused", "www.example.org"),
		Service("ns", "spelled", HTTP, "None"),
		Slice("ns", "spelled", "6", 8080, discoveryv1.AddressTypeIPv6, Endpoint(true, "", "fd00:2:3::a:0:0:1")), // fd00:2:3:0:a::1
		Service("ns", "moved", HTTP, "None"),
		Slice("ns", "moved", "1", 8080, discoveryv1.AddressTypeIPv4, stale, Endpoint(true, "", "172.16.3.5")),
		Slice("ns", "moved", "2", 8080, discoveryv1.AddressTypeIPv4, moved),
		Service("ns", "large", HTTP, "None"),
		largeSlice(),
		Pod("ns", "shop-0", "172.16.3.1", "fd00::11"),
		Pod("vacant", "alone", "172.16.3.7"),
	}...)
}

// sharedAddresses are Services of several pods with one address: in one slice, one of
// them terminating or both ready, and in two, with other ports, or one of them not ready.
func sharedAddresses() []runtime.Object {
	pod := func(ready bool, hostname, ip string) discoveryv1.Endpoint {
		e := Endpoint(ready, hostname, ip)
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: hostname}
		return e
	}
	const v4 = discoveryv1.AddressTypeIPv4
	return []runtime.Object{
		Service("ns", "db", HTTP, "None"),
		Slice("ns", "db", "1", 8080, v4, pod(false, "db-0", "172.16.5.1"), pod(true, "db-1", "172.16.5.1")),
		Service("ns", "store", HTTP, "None"),
		Slice("ns", "store", "1", 8080, v4, pod(true, "store-0", "172.16.5.2"), Endpoint(true, "store-1", "172.16.5.2")),
		Service("ns", "ex", HTTP, "None"),
		Slice("ns", "ex", "1", 8080, v4, pod(true, "ex-0", "172.16.5.3")),
		Slice("ns", "ex", "2", 9090, v4, pod(true, "ex-2", "172.16.5.3")),
		Service("ns", "agent", HTTP, "10.0.0.60"),
		Slice("ns", "agent", "1", 8080, v4, pod(true, "agent-x", "172.16.5.4")),
		Slice("ns", "agent", "2", 8080, v4, pod(false, "agent-y", "172.16.5.4")),
	}
}

// largeSlice has more endpoints than fit into a UDP answer, over TCP they do.
func largeSlice() runtime.Object {
	var eps []discoveryv1.Endpoint
	for i := range 120 {
		eps = append(eps, Endpoint(true, "", fmt.Sprintf("172.16.4.%d", 1+i)))
	}
	return Slice("ns", "large", "1", 8080, discoveryv1.AddressTypeIPv4, eps...)
}

// Pod is a running pod.
func Pod(namespace, name string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ips[0]}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

// step makes one random change.
func (w *world) step() {
	namespace := fmt.Sprintf("team-%d", w.IntN(3))
	switch w.IntN(20) {
	case 0, 1:
		w.removeNamespaceIfEmpty(namespace)
		return
	case 2, 3:
		w.deleteAny(func(o runtime.Object) bool { _, ok := o.(*corev1.Service); return ok })
		return
	case 4, 5:
		w.deleteAny(func(o runtime.Object) bool { _, ok := o.(*discoveryv1.EndpointSlice); return ok })
		return
	case 6:
		w.deleteAny(func(o runtime.Object) bool { _, ok := o.(*corev1.Pod); return ok })
		return
	}
	w.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	service := fmt.Sprintf("app-%d", w.IntN(6))
	switch w.IntN(10) {
	case 0, 1, 2, 3:
		w.put(w.service(namespace, service))
	case 4, 5, 6, 7, 8:
		w.putSlice(w.slice(namespace, service))
	case 9:
		w.put(Pod(namespace, fmt.Sprintf("pod-%d", w.IntN(4)), w.endpointAddr(false), w.endpointAddr(true)))
	}
}

// pick is one of the random objects: those of the fixture stay.
func (w *world) deleteAny(of func(runtime.Object) bool) {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(w.objects)) {
		if o := w.objects[k]; of(o) && isRandom(o) {
			list = append(list, k)
		}
	}
	if len(list) > 0 {
		w.delete(w.objects[list[w.IntN(len(list))]])
	}
}

func isRandom(o runtime.Object) bool {
	ns := o.(metav1.Object).GetNamespace()
	return len(ns) > 5 && ns[:5] == "team-"
}

func (w *world) removeNamespaceIfEmpty(name string) {
	for _, o := range w.objects {
		if o.(metav1.Object).GetNamespace() == name {
			return
		}
	}
	if o := w.objects[key(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})]; o != nil {
		w.delete(o)
	}
}

// service is a Service of any type; a ClusterIP is always a new one.
func (w *world) service(namespace, name string) runtime.Object {
	w.next++
	v4, v6 := fmt.Sprintf("10.1.%d.%d", w.next/250, 1+w.next%250), fmt.Sprintf("fd00:1:1::%x", w.next)
	switch w.IntN(12) {
	case 0:
		return ExternalName(namespace, name, w.target())
	case 1, 2, 3, 4:
		return Service(namespace, name, w.servicePorts(), "None")
	case 5:
		return Service(namespace, name, w.servicePorts(), v6)
	case 6, 7:
		return Service(namespace, name, w.servicePorts(), v4, v6)
	case 8:
		s := Service(namespace, name, w.servicePorts(), v4)
		s.Spec.Type = []corev1.ServiceType{corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer}[w.IntN(2)]
		s.Spec.ExternalIPs = []string{"203.0.113.7"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.8"}}
		return s
	}
	return Service(namespace, name, w.servicePorts(), v4)
}

// target is where an ExternalName points: outside, inside, or to another one.
func (w *world) target() string {
	return []string{
		"www.example.net", "alias.example.net", "gone.example.net", "www.example.org", "192.0.2.1", "WWW.Example.net",
		"web.ns.svc.cluster.local", "hdls.ns.svc.cluster.local", "gone.ns.svc.cluster.local", "ext.ns.svc.cluster.local",
		fmt.Sprintf("app-%d.team-%d.svc.cluster.local", w.IntN(6), w.IntN(3)),
	}[w.IntN(11)]
}

var portNames = []string{"http", "dns", "dns-tcp", "metrics"}

func (w *world) servicePorts() []corev1.ServicePort {
	if w.IntN(8) == 0 {
		return []corev1.ServicePort{{Port: 7000, Protocol: corev1.ProtocolTCP}} // the only one may be without name
	}
	var ports []corev1.ServicePort
	for i, name := range portNames[:w.IntN(len(portNames))] {
		ports = append(ports, corev1.ServicePort{Name: name, Port: int32(80 + i), Protocol: protocols[w.IntN(len(protocols))]})
	}
	return ports
}

var protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}

// putSlice takes a pod that is in another state now out of the slice's sibling, as the
// API's controller does. Other pods may have the same address there.
func (w *world) putSlice(s *discoveryv1.EndpointSlice) {
	for _, suffix := range []string{"0", "1"} {
		name := s.Labels[discoveryv1.LabelServiceName] + "-" + suffix
		other, _ := w.objects[key(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name}})].(*discoveryv1.EndpointSlice)
		if other == nil || name == s.Name {
			continue
		}
		other = other.DeepCopy()
		other.Endpoints = slices.DeleteFunc(other.Endpoints, func(e discoveryv1.Endpoint) bool {
			return slices.ContainsFunc(s.Endpoints, func(n discoveryv1.Endpoint) bool {
				return n.TargetRef != nil && e.TargetRef != nil && n.TargetRef.Name == e.TargetRef.Name && !reflect.DeepEqual(n, e)
			})
		})
		w.put(other)
	}
	w.put(s)
}

// slice is one of three of a Service: two of IPv4, which may have addresses in
// common, and one of IPv6.
func (w *world) slice(namespace, service string) *discoveryv1.EndpointSlice {
	n := w.IntN(3)
	family := discoveryv1.AddressTypeIPv4
	if n == 2 {
		family = discoveryv1.AddressTypeIPv6
	}
	var eps []discoveryv1.Endpoint
	for range w.IntN(5) {
		eps = append(eps, w.endpoint(namespace, service, n == 2))
	}
	s := Slice(namespace, service, fmt.Sprint(n), 0, family, eps...)
	s.Ports = nil
	for i, name := range portNames[:w.IntN(len(portNames))] {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(name), Port: ptr.To(int32(8080 + i)), Protocol: ptr.To(protocols[w.IntN(len(protocols))])})
	}
	if s.Ports == nil && w.IntN(2) == 0 {
		s.Ports = []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To(int32(7070)), Protocol: ptr.To(corev1.ProtocolTCP)}}
	}
	return s
}

// endpoint is a pod, which may have an address that another pod of the Service has, in this
// slice or in another, or several addresses.
func (w *world) endpoint(namespace, service string, v6 bool) discoveryv1.Endpoint {
	e := Endpoint(w.IntN(4) > 0, "", w.endpointAddr(v6))
	if w.IntN(8) == 0 {
		e.Addresses = append(e.Addresses, w.endpointAddr(v6))
	}
	if w.IntN(3) == 0 {
		e.Hostname = ptr.To(fmt.Sprintf("host-%d", w.IntN(3)))
	}
	switch w.IntN(6) {
	case 0:
		e.Conditions.Ready = nil // unknown is ready
	case 1:
		e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(w.IntN(2) == 0), Terminating: ptr.To(true)}
	}
	if w.IntN(3) == 0 {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-%d", service, w.IntN(3))}
	}
	return e
}

// endpointAddr is one of few, so that Services share pods, and pods addresses.
func (w *world) endpointAddr(v6 bool) string {
	if v6 {
		return []string{"fd00:2:2::1", "fd00:2:2::b", "fd00:2:2:0:1::", "fd00:2:2:0:a::1"}[w.IntN(4)]
	}
	return fmt.Sprintf("172.18.0.%d", 1+w.IntN(12))
}
