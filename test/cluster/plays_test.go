package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// playTutorial is what the Kubernetes documentation has people type for their first Service.
func playTutorial(s *scene) {
	s.serve("web", 3, "")
	s.service("web", "type: NodePort")
	vip, port := s.value("service/web", ".spec.clusterIP"), s.nodePort("web")
	if out := s.must("get", "service", "web"); !strings.Contains(out, vip) || !strings.Contains(out, "80:"+port+"/TCP") {
		s.t.Errorf("kubectl get service prints neither %s nor 80:%s/TCP:\n%s", vip, port, out)
	}
	s.eventually(patience, "three endpoints", func() error {
		addresses := s.must("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].addresses[*]}")
		if len(strings.Fields(addresses)) != 3 {
			return fmt.Errorf("%s", addresses)
		}
		return nil
	})
	s.eventually(patience, "kubectl get endpoints prints the port", func() error { // another controller's work
		if out := s.must("get", "endpoints", "web"); !strings.Contains(out, ":8080") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	client := s.client("n1")
	for _, name := range []string{"web", "web." + s.ns, "web." + s.ns + ".svc", "web." + s.ns + ".svc." + clusterDomain, vip} {
		s.everyPod("three pods answer a pod at "+name, 3, func() []reply { return s.ask(client, 40, "http://"+name) })
	}
	for _, node := range nodes() {
		s.everyPod("three pods answer node "+node.name, 3, func() []reply { return s.askFrom(node.name, 40, "http://"+vip) })
		for _, address := range []netip.Addr{node.v4} {
			url := fmt.Sprintf("http://%s:%s", address, port)
			s.everyPod("three pods answer the outside at "+url, 3, func() []reply { return s.askFrom(outsideName, 40, url) })
		}
	}
	s.must("scale", "deployment/web", "--replicas=6")
	s.rolledOut("deployment/web")
	s.everyPod("six pods answer", 6, func() []reply { return s.ask(client, 80, "http://web") })
	s.must("delete", "service", "web")
	s.eventually(patience, "nobody answers at a VIP that is gone", func() error {
		if r := s.ask(client, 1, "http://"+vip); r[0].Error == "" {
			return fmt.Errorf("%s does", r[0].Pod)
		}
		return nil
	})
}

// playNslookup types into a pod of an image that is always pulled.
func playNslookup(s *scene) {
	s.serve("web", 1, "")
	s.service("web")
	vip := s.value("service/web", ".spec.clusterIP")
	s.must("run", "shell", "--image=busybox", "--restart=Never", "--", "sleep", "600")
	s.must("wait", "--for=condition=Ready", "pod/shell", "--timeout=120s")
	full := "web." + s.ns + ".svc." + clusterDomain
	for _, name := range []string{"web", full} {
		s.eventually(patience, "nslookup "+name, func() error {
			// It asks with every search domain, and ends with 1 if one of them knows no such name.
			out, _ := s.try("exec", "shell", "--", "nslookup", name)
			if !strings.Contains(out, dnsAddress) || !strings.Contains(out, full) || !strings.Contains(out, vip) {
				return fmt.Errorf("want %s by %s with the address %s:\n%s", full, dnsAddress, vip, out)
			}
			return nil
		})
	}
	// Busybox's nslookup leaves the search domains out where a name has a dot; the C library does not.
	for _, name := range []string{"web", "web." + s.ns} {
		s.eventually(patience, "wget http://"+name, func() error {
			if out, err := s.try("exec", "shell", "--", "wget", "-qO-", "http://"+name); err != nil || !strings.Contains(out, "pod") {
				return fmt.Errorf("%q (%v)", out, err)
			}
			return nil
		})
	}
	if out, err := s.try("exec", "shell", "--", "nslookup", "nobody."+s.ns+".svc."+clusterDomain); err == nil || !strings.Contains(out, "NXDOMAIN") {
		s.t.Errorf("a name that does not exist: want NXDOMAIN:\n%s", out)
	}
	// And as the tutorials do it, a pod for each question. What a pod prints between kubectl's look at its log
	// and the attachment nobody sees (kubernetes issue 27264), so it may take a second question.
	s.eventually(patience, "kubectl run --rm -i -- nslookup", func() error {
		out := s.must("run", "try", "--image=busybox", "--restart=Never", "--rm", "-i", "--", "nslookup", "kubernetes.default.svc."+clusterDomain)
		if !strings.Contains(out, firstServices[0].String()) {
			return fmt.Errorf("no %s:\n%s", firstServices[0], out)
		}
		return nil
	})
}

func playDualStack(s *scene) {
	s.serve("web", 2, "")
	s.service("web", "type: NodePort", "ipFamilyPolicy: RequireDualStack")
	client := s.client("n1")
	vips := strings.Fields(s.value("service/web", ".spec.clusterIPs[0]") + " " + s.value("service/web", ".spec.clusterIPs[1]"))
	if len(vips) != 2 {
		s.t.Fatalf("cluster addresses %v, want one of each family", vips)
	}
	name := "web." + s.ns + ".svc." + clusterDomain
	for i, kind := range []string{"A", "AAAA"} {
		if out, err := s.in("n1", "dig", "+short", "@"+dnsAddress, name, kind); err != nil || strings.TrimSpace(out) != vips[i] {
			s.t.Errorf("%s of %s: %q, want %s (%v)", kind, name, out, vips[i], err)
		}
		url := "http://" + netip.AddrPortFrom(netip.MustParseAddr(vips[i]), 80).String()
		s.everyPod("a pod at "+url, 2, func() []reply { return s.ask(client, 20, url) })
		s.everyPod("a node at "+url, 2, func() []reply { return s.askFrom("n2", 20, url) })
	}
	for _, node := range nodes() {
		url := fmt.Sprintf("http://[%s]:%s", node.v6, s.nodePort("web"))
		s.everyPod("the outside at "+url, 2, func() []reply { return s.askFrom(outsideName, 20, url) })
	}
}

func playUDP(s *scene) {
	s.serve("web", 2, "")
	s.service("web", "type: NodePort")
	client := s.client("n2")
	s.everyPod("packets from a pod", 2, func() []reply { return s.ask(client, 20, "udp://web:80") })
	port := s.value("service/web", ".spec.ports[1].nodePort")
	url := fmt.Sprintf("udp://%s:%s", nodes()[0].v4, port)
	s.everyPod("packets from outside", 2, func() []reply { return s.askFrom(outsideName, 20, url) })
}

// playNoEndpoints: who asks hears at once that nobody is there.
func playNoEndpoints(s *scene) {
	s.service("web", "type: NodePort")
	client := s.client("n1")
	vip := s.value("service/web", ".spec.clusterIP")
	for _, scheme := range []string{"http", "udp"} {
		s.eventually(patience, scheme+" without endpoints is refused", func() error {
			begun := time.Now()
			r := s.ask(client, 1, scheme+"://"+vip+":80")
			if took := time.Since(begun); !strings.Contains(r[0].Error, "refused") {
				return fmt.Errorf("after %v: %+v, want connection refused", took, r[0])
			}
			return nil
		})
	}
	// It starts to answer when the first pod is ready.
	s.serve("web", 1, "")
	s.everyPod("the first pod answers", 1, func() []reply { return s.ask(client, 5, "http://"+vip) })
}

// playHairpin: a pod reaches itself through its own Service.
func playHairpin(s *scene) {
	s.serve("web", 1, "")
	s.service("web")
	self := s.pods("app=web")[0]
	s.everyPod("a pod asks itself by its VIP", 1, func() []reply { return s.ask(self, 5, "http://web") })
}

func playStatefulSet(s *scene) {
	s.apply(`
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: probe
        image: signpost/probe:dev
        imagePullPolicy: IfNotPresent
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`)
	s.rolledOut("statefulset/db")
	client := s.client("n1")
	domain := "db." + s.ns + ".svc." + clusterDomain
	each := func() {
		for _, p := range s.pods("app=db") {
			s.eventually(patience, p.name+" answers by its name", func() error {
				out, err := s.in("n1", "dig", "+short", "@"+dnsAddress, p.name+"."+domain)
				if err != nil || strings.TrimSpace(out) != p.ip {
					return fmt.Errorf("%s has the address %q, want %s (%v)", p.name, out, p.ip, err)
				}
				if r := s.ask(client, 1, "http://"+p.name+".db:8080"); r[0].Pod != p.name {
					return fmt.Errorf("answer %+v", r[0])
				}
				return nil
			})
			out, err := s.in("n1", "dig", "+short", "@"+dnsAddress, "-x", p.ip)
			if want := p.name + "." + domain + "."; err != nil || strings.TrimSpace(out) != want {
				s.t.Errorf("%s leads back to %q, want %s (%v)", p.ip, out, want, err)
			}
		}
	}
	each()
	out, err := s.in("n1", "dig", "+short", "@"+dnsAddress, "_http._tcp."+domain, "SRV")
	for _, want := range []string{"8080 db-0." + domain + ".", "8080 db-1." + domain + "."} {
		if err != nil || !strings.Contains(out, want) {
			s.t.Errorf("SRV: %q, want %q in it (%v)", out, want, err)
		}
	}
	// A pod comes back with another address; the name follows.
	old := s.value("pod/db-0", ".status.podIP")
	s.must("delete", "pod", "db-0")
	s.rolledOut("statefulset/db")
	if s.value("pod/db-0", ".status.podIP") == old {
		s.t.Logf("the new pod has the old address: nothing is shown")
	}
	each()
}

// playExternalName: an alias for a name of the world outside.
func playExternalName(s *scene) {
	s.apply("{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {type: ExternalName, externalName: www.example.org}}")
	name := "shop." + s.ns + ".svc." + clusterDomain
	s.eventually(patience, "the alias", func() error {
		out, err := s.in("n1", "dig", "+short", "@"+dnsAddress, name)
		if want := "www.example.org.\n172.30.0.1\n"; err != nil || out != want {
			return fmt.Errorf("%s is %q, want %q (%v)", name, out, want, err)
		}
		return nil
	})
	// It becomes a Service with an address.
	s.serve("shop", 1, "")
	s.must("patch", "service", "shop", "--type=merge", "-p", `{"spec":{"type":"ClusterIP","externalName":null,"selector":{"app":"shop"},"ports":[{"port":80,"targetPort":8080}]}}`)
	client := s.client("n2")
	s.everyPod("its pod answers", 1, func() []reply { return s.ask(client, 3, "http://shop") })
}
