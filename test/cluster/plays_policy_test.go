package main

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// ingress gives a Service an address as a cloud's controller would, and leads the outside to it by a node.
func (s *scene) ingress(service, via string) string {
	address := fmt.Sprintf("203.0.113.%d", nextIngress.Add(1))
	s.must("patch", "service", service, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":"%s"}]}}}`, address))
	s.route(address, via)
	s.t.cleanup(func() { _, _ = s.in(outsideName, "ip", "route", "del", address) })
	return address
}

var nextIngress atomic.Int32

// route leads the outside to an address by a node.
func (s *scene) route(address, node string) {
	m, _ := nodeNamed(node)
	if out, err := s.in(outsideName, "ip", "route", "replace", address, "via", m.v4.String()); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

func playLoadBalancer(s *scene) {
	s.serve("web", 2, "")
	s.service("web", "type: LoadBalancer")
	address := s.ingress("web", "n1")
	if out := s.must("get", "service", "web"); !strings.Contains(out, address) {
		s.t.Errorf("kubectl get service does not show %s:\n%s", address, out)
	}
	for _, node := range nodeNames {
		s.route(address, node)
		s.everyPod("the outside by "+node, 2, func() []reply { return s.askFrom(outsideName, 20, "http://"+address) })
	}
	client := s.client("n2")
	s.everyPod("a pod", 2, func() []reply { return s.ask(client, 20, "http://"+address) })
}

func playSourceRanges(s *scene) {
	s.serve("web", 1, "")
	s.service("web", "type: LoadBalancer", "loadBalancerSourceRanges: [172.30.0.1/32]")
	address := s.ingress("web", "n1")
	s.everyPod("an address in the range", 1, func() []reply { return s.askFrom(outsideName, 5, "http://"+address) })
	s.must("patch", "service", "web", "-p", `{"spec":{"loadBalancerSourceRanges":["198.51.100.0/24"]}}`)
	s.eventually(patience, "an address out of the range gets no answer", func() error {
		if r := s.askFrom(outsideName, 1, "http://"+address); r[0].Error == "" {
			return fmt.Errorf("%s answers", r[0].Pod)
		}
		return nil
	})
	// The ranges are for the address of the load balancer, and for no other.
	url := fmt.Sprintf("http://%s:%s", nodes()[0].v4, s.nodePort("web"))
	s.wantAll("the NodePort", s.askFrom(outsideName, 5, url))
}

// playSourceAddress: whom the server sees, as the Service documentation promises.
func playSourceAddress(s *scene) {
	s.serve("web", 2, "")
	s.service("web", "type: NodePort")
	vip, port := s.value("service/web", ".spec.clusterIP"), s.nodePort("web")
	client := s.client("n1")
	s.everyPod("it works", 2, func() []reply { return s.ask(client, 20, "http://"+vip) })
	for _, r := range s.ask(client, 20, "http://"+vip) {
		if r.Error != "" || r.Client != client.ip {
			s.t.Errorf("a pod by the VIP: %+v, want the pod's own address %s", r, client.ip)
		}
	}
	// A node that hands on to the other one must be on the way back.
	for _, r := range s.askFrom(outsideName, 20, fmt.Sprintf("http://%s:%s", nodes()[0].v4, port)) {
		if r.Error != "" || r.Client == outside.v4.String() {
			s.t.Errorf("the outside by a NodePort: %+v, want an address of the node", r)
		}
	}
}

func playAffinity(s *scene) {
	s.serve("web", 3, "")
	s.service("web", "type: NodePort", "sessionAffinity: ClientIP")
	client := s.client("n1")
	s.soon("somebody answers", func() []reply { return s.ask(client, 1, "http://web") })
	if by := s.wantAll("with affinity", s.ask(client, 30, "http://web")); len(by) != 1 {
		s.t.Errorf("%d pods answer one client, want 1: %v", len(by), by)
	}
	// The pod goes, and its clients go to another one, which keeps them.
	first := s.ask(client, 1, "http://web")[0].Pod
	s.must("delete", "pod", first)
	s.eventually(patience, "another pod", func() error {
		if r := s.ask(client, 1, "http://web"); r[0].Error != "" || r[0].Pod == first {
			return fmt.Errorf("%+v", r[0])
		}
		return nil
	})
	if by := s.wantAll("after the pod is gone", s.ask(client, 30, "http://web")); len(by) != 1 {
		s.t.Errorf("%d pods answer one client, want 1: %v", len(by), by)
	}
	s.must("patch", "service", "web", "-p", `{"spec":{"sessionAffinity":"None"}}`)
	s.everyPod("without affinity all pods answer", 3, func() []reply { return s.ask(client, 40, "http://web") })
}

func playExternalLocal(s *scene) {
	s.serve("web", 1, onNode("n1"))
	s.service("web", "type: LoadBalancer", "externalTrafficPolicy: Local")
	port, health := s.nodePort("web"), s.value("service/web", ".spec.healthCheckNodePort")
	address := s.ingress("web", "n1")
	with, without := nodes()[0], nodes()[1]
	for _, url := range []string{fmt.Sprintf("http://%s:%s", with.v4, port), "http://" + address} {
		s.everyPod("the node with a pod, at "+url, 1, func() []reply { return s.askFrom(outsideName, 5, url) })
		for _, r := range s.askFrom(outsideName, 5, url) {
			if r.Client != outside.v4.String() {
				s.t.Errorf("%s: the pod sees %s, want the client's own address %s", url, r.Client, outside.v4)
			}
		}
	}
	s.wantNone("the node without a pod", s.askFrom(outsideName, 1, fmt.Sprintf("http://%s:%s", without.v4, port)))
	// Load balancers ask this port which nodes to use.
	for node, want := range map[string]string{with.v4.String(): "200", without.v4.String(): "503"} {
		s.eventually(patience, "health of "+node, func() error {
			out, _ := s.in(outsideName, "curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", fmt.Sprintf("http://%s:%s/healthz", node, health))
			if out != want {
				return fmt.Errorf("%q, want %s", out, want)
			}
			return nil
		})
	}
	// From inside the cluster the policy says nothing.
	client := s.client("n2")
	s.soon("a pod on the node without one", func() []reply { return s.ask(client, 5, "http://web") })
}

func playInternalLocal(s *scene) {
	s.serve("web", 1, onNode("n1"))
	s.service("web", "internalTrafficPolicy: Local")
	near, far := s.client("n1"), s.client("n2")
	s.everyPod("a pod of the same node", 1, func() []reply { return s.ask(near, 5, "http://web") })
	s.wantNone("a pod of another node", s.ask(far, 1, "http://web"))
}

// playDistribution: each node is a zone of its own here.
func playDistribution(s *scene) {
	s.serve("web", 4, "")
	s.service("web", "trafficDistribution: PreferSameZone")
	nodeOf := map[string]string{}
	for _, p := range s.pods("app=web") {
		nodeOf[p.name] = p.node
	}
	client := s.client("n1")
	s.eventually(patience, "only pods of the client's zone answer", func() error {
		for _, r := range s.ask(client, 30, "http://web") {
			if r.Error != "" || nodeOf[r.Pod] != "n1" {
				return fmt.Errorf("%+v, which is on %s", r, nodeOf[r.Pod])
			}
		}
		return nil
	})
}
