//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxEndpoints is how many endpoints a slice of the real controller holds by default.
const maxEndpoints = 100

// endpointSlices renders the slices of a Service as the controller of Kubernetes would: one set for each family and for
// each list of ports, since a named target port may be another number in another pod. A Service without selector has none.
func endpointSlices(s *corev1.Service, pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
	if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var all []*discoveryv1.EndpointSlice
	for _, family := range s.Spec.IPFamilies {
		groups := map[string][]discoveryv1.Endpoint{}
		ports := map[string][]discoveryv1.EndpointPort{}
		for _, pod := range selectedPods(s, pods) {
			addr, ok := podAddress(pod, family)
			if !ok {
				continue
			}
			list := endpointPorts(s, pod)
			key := portsKey(list)
			groups[key] = append(groups[key], endpoint(s, pod, addr))
			ports[key] = list
		}
		number := 0
		for _, key := range slices.Sorted(maps.Keys(groups)) {
			for part := range slices.Chunk(groups[key], maxEndpoints) {
				number++
				all = append(all, endpointSlice(s, family, number, ports[key], part))
			}
		}
	}
	return all
}

// selectedPods are the pods that a Service's selector matches, by name.
func selectedPods(s *corev1.Service, pods []*corev1.Pod) []*corev1.Pod {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	var selected []*corev1.Pod
	for _, pod := range pods {
		if pod.Namespace == s.Namespace && selector.Matches(labels.Set(pod.Labels)) {
			selected = append(selected, pod)
		}
	}
	slices.SortFunc(selected, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return selected
}

func endpointSlice(s *corev1.Service, family corev1.IPFamily, number int, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	marks := map[string]string{discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: "playground"}
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		marks[corev1.IsHeadlessService] = ""
	}
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s-%s-%d", s.Name, strings.ToLower(string(family)), number),
			Namespace: s.Namespace,
			Labels:    marks,
		},
		AddressType: discoveryv1.AddressType(family),
		Ports:       ports,
		Endpoints:   endpoints,
	}
}

func endpoint(s *corev1.Service, pod *corev1.Pod, addr netip.Addr) discoveryv1.Endpoint {
	terminating, serving := pod.DeletionTimestamp != nil, isReady(pod)
	ready := serving && !terminating || s.Spec.PublishNotReadyAddresses
	e := discoveryv1.Endpoint{
		Addresses:  []string{addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		NodeName:   &pod.Spec.NodeName,
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name},
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == s.Name {
		e.Hostname = &pod.Spec.Hostname
	}
	return e
}

// endpointPorts are the ports of a Service as one pod has them; a named port that the pod does not have is left out.
func endpointPorts(s *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for _, p := range s.Spec.Ports {
		if number, ok := targetPort(p, pod); ok {
			ports = append(ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &number, AppProtocol: p.AppProtocol})
		}
	}
	return ports
}

func targetPort(p corev1.ServicePort, pod *corev1.Pod) (int32, bool) {
	if p.TargetPort.Type == intstr.Int {
		return p.TargetPort.IntVal, true
	}
	for _, c := range pod.Spec.Containers {
		for _, port := range c.Ports {
			protocol := cmp.Or(port.Protocol, corev1.ProtocolTCP)
			if port.Name == p.TargetPort.StrVal && protocol == p.Protocol {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}

// portsKey is equal for equal lists of ports.
func portsKey(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%s/%05d ", *p.Name, *p.Protocol, *p.Port)
	}
	return b.String()
}

// podAddress is the pod's address of one family.
func podAddress(pod *corev1.Pod, family corev1.IPFamily) (netip.Addr, bool) {
	for _, ip := range pod.Status.PodIPs {
		addr, err := netip.ParseAddr(ip.IP)
		if err == nil && addr.Is4() == (family == corev1.IPv4Protocol) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
