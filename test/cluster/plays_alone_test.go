package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	system    = "--namespace=kube-system" // the last one that is given counts
	forwarder = "daemonset/signpost-forwarder"
)

// loadRequests is how many requests a rollout must survive, of a Service's pods or of the forwarders.
const loadRequests = 20_000

// playRollout scales, updates and rolls back under load: clients notice nothing.
func playRollout(s *scene) {
	s.serve("web", 3, "")
	s.service("web")
	l := s.load("web")
	s.must("scale", "deployment/web", "--replicas=6")
	s.rolledOut("deployment/web")
	s.must("set", "env", "deployment/web", "VERSION=2")
	s.rolledOut("deployment/web")
	s.must("rollout", "undo", "deployment/web")
	s.rolledOut("deployment/web")
	s.must("scale", "deployment/web", "--replicas=3")
	l.reachTotal(loadRequests)
	l.unharmed("scaled, updated and rolled back")
}

// playDNSPodDeleted: the other one answers, the deleted one finishes what it began. The load takes hundreds of ports a
// second, and soon the same ones again: by the time at which the pod ends, no flow may be left that leads there.
func playDNSPodDeleted(s *scene) {
	s.serve("web", 2, "")
	s.service("web")
	l := s.load("web")
	victim := strings.Fields(s.must("get", "pods", system, "-l", "k8s-app=kube-dns", "-o", "name"))[0]
	s.must("delete", system, victim)
	s.must("rollout", "status", system, "deployment/coredns", "--timeout=90s")
	l.reach(1000)
	l.unharmed("a CoreDNS pod is deleted")
}

// playForwarderKilled: the rules stay, and the next forwarder goes on with them.
func playForwarderKilled(s *scene) {
	s.serve("web", 2, "")
	s.service("web")
	l := s.load("web")
	for _, node := range nodeNames {
		// In the node's own pid namespace.
		if _, err := s.in(node, "sh", "-c", "kill -9 $(pidof forwarder)"); err != nil {
			s.t.Fatalf("%v", err)
		}
	}
	l.reachTotal(loadRequests)
	s.must("rollout", "status", system, forwarder, "--timeout=90s")
	s.service("late", "type: NodePort")
	s.serve("late", 1, "")
	s.everyPod("a Service that is made afterwards", 1, func() []reply { return s.askFrom("n1", 3, "http://"+s.value("service/late", ".spec.clusterIP")) })
	l.unharmed("every forwarder is killed")
}

// playForwarderUpgraded replaces one after the other, as a new image does.
func playForwarderUpgraded(s *scene) {
	s.serve("web", 2, "")
	s.service("web")
	l := s.load("web")
	s.must("rollout", "restart", system, forwarder)
	s.must("rollout", "status", system, forwarder, "--timeout=120s")
	l.reachTotal(loadRequests)
	l.unharmed("every forwarder is replaced")
}

// awayVariable says how long the API server is away, if not for the minute that operators ask about.
const awayVariable = "SIGNPOST_API_AWAY"

func playAPIServerAway(s *scene) {
	away := time.Minute
	if text := os.Getenv(awayVariable); text != "" {
		var err error
		if away, err = time.ParseDuration(text); err != nil {
			s.t.Fatalf("%s: %v", awayVariable, err)
		}
	}
	s.serve("web", 2, "")
	s.service("web")
	l := s.load("web")
	s.power("stop", "kube-apiserver")
	s.t.cleanup(func() { s.power("start", "kube-apiserver") })
	time.Sleep(away)
	l.unharmed(fmt.Sprintf("the API server is away for %v", away))
	s.power("start", "kube-apiserver")
	s.eventually(patience, "the API server is back", func() error {
		_, err := s.try("get", "--raw", "/readyz")
		return err
	})
	s.service("late")
	s.serve("late", 1, "")
	vip := s.value("service/late", ".spec.clusterIP")
	s.everyPod("a Service that is made afterwards", 1, func() []reply { return s.askFrom("n2", 3, "http://"+vip) })
	s.eventually(patience, "and its name", func() error {
		out, err := s.in("n1", "dig", "+short", "@"+dnsAddress, "late."+s.ns+".svc."+clusterDomain)
		if err != nil || strings.TrimSpace(out) != vip {
			return fmt.Errorf("%q, want %s (%v)", out, vip, err)
		}
		return nil
	})
	l.unharmed("and comes back")
}

// power stops or starts something of the cluster.
func (s *scene) power(verb, name string) {
	if _, err := s.c.place.ask("POST", "/"+verb, map[string][]string{"name": {name}}); err != nil {
		s.t.Fatalf("%s %s: %v", verb, name, err)
	}
}

// playNodeLost: when the cluster has noticed, nobody is led to the pods of the node any more.
func playNodeLost(s *scene) {
	s.serve("web", 4, "")
	s.service("web")
	client := s.client("n1")
	s.everyPod("four pods", 4, func() []reply { return s.ask(client, 60, "http://web") })
	if ready := s.readyOn("web", "n2"); len(ready) == 0 {
		s.t.Fatalf("no endpoint on n2 is ready, want some of four")
	}
	s.power("stop", "n2")
	s.t.cleanup(func() { s.power("start", "n2") })
	vip := s.value("service/web", ".spec.clusterIP")
	// How long that takes is Kubernetes's matter: the grace period of the node, and more if its controllers have just
	// lost and found their API server.
	s.eventually(2*time.Minute, "the cluster says that the node's pods are not ready", func() error {
		if ready := s.readyOn("web", "n2"); len(ready) > 0 {
			return fmt.Errorf("these are: %q", ready)
		}
		return nil
	})
	s.eventually(patience, "only pods of the node that is left answer", func() error {
		err := firstError(s.ask(client, 20, "http://"+vip))
		if err != nil {
			logs, _ := s.try("logs", system, forwarder, "--tail=20") // of the one that is left, or it says why not
			err = fmt.Errorf("%w\n%s", err, logs)
		}
		return err
	})
	s.soon("by name as well", func() []reply { return s.ask(client, 20, "http://web") }) // the slice of CoreDNS is another one
	s.power("start", "n2")
	if err := s.c.waitForNodes(s.t.t.Context()); err != nil {
		s.t.Fatalf("%v", err)
	}
	s.must("rollout", "status", system, forwarder, "--timeout=120s")
	s.must("rollout", "status", system, "deployment/coredns", "--timeout=120s")
	s.rolledOut("deployment/web")
	s.everyPod("the node that is back", 4, func() []reply { return s.askFrom("n2", 60, "http://"+vip) })
}

// readyOn lists the endpoints of a Service that its slices call ready, of those on a node.
func (s *scene) readyOn(service, node string) []string {
	out := s.must("get", "endpointslices", "-l", "kubernetes.io/service-name="+service, "-o",
		`jsonpath={range .items[*].endpoints[?(@.nodeName=="`+node+`")]}{.addresses[0]} {.conditions.ready}{"\n"}{end}`)
	var ready []string
	for line := range strings.Lines(out) {
		if address, ok := strings.CutSuffix(strings.TrimSpace(line), " true"); ok {
			ready = append(ready, address)
		}
	}
	return ready
}

// playFootprint prints what our pods use, as the kubelet measures them.
func playFootprint(s *scene) {
	limits := map[string]int{"coredns": 170 << 20, "forwarder": 300 << 20} // of the manifests
	seen := map[string]int{}
	for _, node := range nodeNames {
		var summary struct {
			Pods []struct {
				PodRef     struct{ Name, Namespace string }
				Containers []struct {
					Name   string
					CPU    struct{ UsageCoreNanoSeconds int }
					Memory struct{ WorkingSetBytes, RSSBytes int }
				}
			}
		}
		if err := json.Unmarshal([]byte(s.must("get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary")), &summary); err != nil {
			s.t.Fatalf("%v", err)
		}
		for _, p := range summary.Pods {
			for _, c := range p.Containers {
				if p.PodRef.Namespace != "kube-system" || limits[c.Name] == 0 {
					continue
				}
				seen[c.Name]++
				s.t.Logf("%-30s %-10s working set %5.1f MiB, RSS %5.1f MiB, CPU since its start %.2f s", p.PodRef.Name, c.Name,
					float64(c.Memory.WorkingSetBytes)/(1<<20), float64(c.Memory.RSSBytes)/(1<<20), float64(c.CPU.UsageCoreNanoSeconds)/1e9)
				if c.Memory.WorkingSetBytes <= 0 || c.Memory.WorkingSetBytes > limits[c.Name]/2 {
					s.t.Errorf("%s uses %d bytes: more than half of its limit, or nothing", p.PodRef.Name, c.Memory.WorkingSetBytes)
				}
			}
		}
	}
	for name := range limits {
		if seen[name] != 2 {
			s.t.Errorf("%d containers %s measured, want 2", seen[name], name)
		}
	}
}
