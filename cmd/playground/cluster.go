//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A cluster is the part of Kubernetes that the playground plays: what an API server would store, what controllers,
// scheduler and kubelets would do about it. It is used by one goroutine.
type cluster struct {
	lab       *netlab.Lab
	folder    *folder
	admission *admission
	program   string // the file of this program, which runs in the pods

	services  []*corev1.Service
	workloads []*workload
	running   []*runningPod
	dns       netip.Addr // the name server of the pods
}

func newCluster(lab *netlab.Lab, folder *folder, program string) *cluster {
	return &cluster{lab: lab, folder: folder, admission: newAdmission(lab.HasIPv6()), program: program}
}

func (c *cluster) hasIPv6() bool { return c.lab.HasIPv6() }

// apply creates what the examples hold, and starts its pods.
func (c *cluster) apply(ctx context.Context, e examples) error {
	for _, s := range e.services {
		if err := c.admission.admit(s); err != nil {
			return err
		}
		c.services = append(c.services, s)
	}
	for _, w := range e.workloads {
		c.workloads = append(c.workloads, w)
		if err := c.grow(ctx, w, w.replicas); err != nil {
			return fmt.Errorf("start %s %s: %w", w.kind, w.meta.Name, err)
		}
	}
	return c.publish()
}

// applySystem creates the Services of the cluster itself: that of its DNS, from the manifests for real clusters. Its
// address is the name server of the pods to come.
func (c *cluster) applySystem(ctx context.Context, root string) error {
	e, err := readFiles(filepath.Join(root, "manifests", "coredns", "service.yaml"))
	if err != nil {
		return err
	}
	if err := c.apply(ctx, e); err != nil {
		return err
	}
	for _, s := range e.services {
		if ips := parseAddrs(s.Spec.ClusterIPs); len(ips) > 0 {
			c.dns = ips[0]
		}
	}
	return nil
}

// scale sets the number of pods of a workload in namespace default, and publishes it.
func (c *cluster) scale(ctx context.Context, name string, replicas int) error {
	for _, w := range c.workloads {
		if w.meta.Namespace != metav1.NamespaceDefault || w.meta.Name != name {
			continue
		}
		w.replicas = replicas
		return errors.Join(c.grow(ctx, w, replicas), c.shrink(ctx, w, replicas), c.publish())
	}
	return fmt.Errorf("there is no workload %s in namespace default", name)
}

// grow starts pods until the workload has as many as it should.
func (c *cluster) grow(ctx context.Context, w *workload, replicas int) error {
	have := len(c.podsOwnedBy(w))
	var started []*runningPod
	for ; have < replicas; have++ {
		pod := w.newPod(have, chooseNode(c.nodeNames(), c.pods()), rand.String(5))
		p, err := c.addPod(pod)
		if err != nil {
			return err
		}
		p.owner = w
		if err := p.start(c.program); err != nil {
			return err
		}
		started = append(started, p)
	}
	for _, p := range started {
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// shrink ends the youngest pods as Kubernetes does: first it is published that they are going, then they are told to.
func (c *cluster) shrink(ctx context.Context, w *workload, replicas int) error {
	owned := c.podsOwnedBy(w)
	if len(owned) <= replicas {
		return nil
	}
	leaving := owned[replicas:]
	for _, p := range leaving {
		p.api.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	}
	if err := c.publish(); err != nil {
		return err
	}
	for _, p := range leaving {
		if err := c.stopPod(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// publish writes all objects to the folder.
func (c *cluster) publish() error {
	files := map[string][]metav1.Object{}
	add := func(kind, namespace, name string, objects ...metav1.Object) {
		file := strings.Join([]string{kind, namespace, name, "yaml"}, ".")
		files[strings.ReplaceAll(file, "..", ".")] = objects
	}
	for _, namespace := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		add("namespace", "", namespace, namespaceObject(namespace))
	}
	for _, n := range c.lab.Nodes {
		add("node", "", n.Name, nodeObject(n))
	}
	pods := c.pods()
	for _, pod := range pods {
		add("pod", pod.Namespace, pod.Name, pod)
	}
	for _, s := range c.services {
		add("service", s.Namespace, s.Name, s)
		var objects []metav1.Object
		for _, slice := range endpointSlices(s, pods) {
			objects = append(objects, slice)
		}
		if len(objects) > 0 {
			add("endpointslices", s.Namespace, s.Name, objects...)
		}
	}
	return c.folder.replace(files)
}

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}},
	}
}

func nodeObject(n *netlab.Node) *corev1.Node {
	object := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{corev1.LabelHostname: n.Name}},
		Spec:       corev1.NodeSpec{PodCIDR: n.PodCIDR4.String(), PodCIDRs: []string{n.PodCIDR4.String()}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: n.IPv4.String()}, {Type: corev1.NodeHostName, Address: n.Name},
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	if n.IPv6.IsValid() {
		object.Spec.PodCIDRs = append(object.Spec.PodCIDRs, n.PodCIDR6.String())
		object.Status.Addresses = append(object.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: n.IPv6.String()})
	}
	return object
}

// nodeAddr is the IPv4 address of a node, counted from 1.
func (c *cluster) nodeAddr(number int) string { return c.lab.Node(number).IPv4.String() }

func (c *cluster) nodeNames() []string {
	var names []string
	for _, n := range c.lab.Nodes {
		names = append(names, n.Name)
	}
	return names
}

func (c *cluster) pods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, p := range c.running {
		pods = append(pods, p.api)
	}
	return pods
}

func (c *cluster) podsOwnedBy(w *workload) []*runningPod {
	return slices.DeleteFunc(slices.Clone(c.running), func(p *runningPod) bool { return p.owner != w })
}

// The rest answers the questions of the steps, about namespace default.

func (c *cluster) service(name string) *corev1.Service {
	for _, s := range c.services {
		if s.Namespace == metav1.NamespaceDefault && s.Name == name {
			return s
		}
	}
	return &corev1.Service{}
}

func (c *cluster) clusterIPs(service string) []netip.Addr {
	return parseAddrs(c.service(service).Spec.ClusterIPs)
}

// podsIn are the pods of a workload.
func (c *cluster) podsIn(workload string) []*runningPod {
	var pods []*runningPod
	for _, w := range c.workloads {
		if w.meta.Namespace == metav1.NamespaceDefault && w.meta.Name == workload {
			pods = append(pods, c.podsOwnedBy(w)...)
		}
	}
	return pods
}

// hostAddrs are the addresses of a workload's pods: those that their hosts have, not what was published about them.
func (c *cluster) hostAddrs(workload string) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range c.podsIn(workload) {
		addrs = append(addrs, p.addrs()...)
	}
	return addrs
}

func (c *cluster) podNames(workload string) []string {
	var names []string
	for _, p := range c.podsIn(workload) {
		names = append(names, p.api.Name)
	}
	return names
}

func (c *cluster) podAddrs(name string) []netip.Addr {
	for _, p := range c.running {
		if p.api.Namespace == metav1.NamespaceDefault && p.api.Name == name {
			return p.addrs()
		}
	}
	return nil
}

func parseAddrs(list []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
