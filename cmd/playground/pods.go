//go:build linux

package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/yaml"
)

// What the pods of this cluster are told about its DNS.
const clusterDomain = "cluster.local"

// newPod makes the next pod of a workload, for a node. ordinal is how many the workload has.
func (w *workload) newPod(ordinal int, node, suffix string) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.meta.Namespace, Labels: maps.Clone(w.template.Labels), Annotations: maps.Clone(w.template.Annotations),
		},
		Spec:   *w.template.Spec.DeepCopy(),
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	pod.Spec.NodeName = node
	if w.kind == "StatefulSet" {
		pod.Name = w.meta.Name + "-" + strconv.Itoa(ordinal)
		pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, w.service
		return pod
	}
	pod.Name = w.meta.Name + "-" + w.templateHash() + "-" + suffix
	return pod
}

// templateHash tells the pods of one version of a Deployment from those of another.
func (w *workload) templateHash() string {
	text, err := yaml.Marshal(w.template)
	if err != nil {
		text = []byte(w.meta.Name)
	}
	h := fnv.New32a()
	h.Write(text)
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// chooseNode is the scheduler: the node with the fewest pods, the first of those that are alike.
func chooseNode(nodes []string, pods []*corev1.Pod) string {
	count := map[string]int{}
	for _, pod := range pods {
		count[pod.Spec.NodeName]++
	}
	return slices.MinFunc(nodes, func(a, b string) int { return cmp.Compare(count[a], count[b]) })
}

// setRunning is what a kubelet reports once the pod's containers pass their probes.
func setRunning(pod *corev1.Pod, nodeIP string, ips []string, now time.Time) {
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: nodeIP, PodIP: ips[0], StartTime: &metav1.Time{Time: now},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
}

// containerPorts are the numbers of the ports on which a pod's containers listen, each once.
func containerPorts(pod *corev1.Pod) []uint16 {
	var ports []uint16
	for _, c := range pod.Spec.Containers {
		for _, port := range c.Ports {
			if number := uint16(port.ContainerPort); !slices.Contains(ports, number) {
				ports = append(ports, number)
			}
		}
	}
	return ports
}

// searchList is what a kubelet writes into the resolv.conf of a pod.
func searchList(namespace string) []string {
	return []string{namespace + ".svc." + clusterDomain, "svc." + clusterDomain, clusterDomain}
}
