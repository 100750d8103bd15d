package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The cast of the plays: servers, clients, Services, loads.

// serverYAML is a Deployment of probes that drain before they end, as every server behind a Service should.
// Its arguments: name, replicas, a line for the pod's spec.
const serverYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 2}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 15
      %[3]s
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: %[1]s}}}
      containers:
      - name: probe
        image: signpost/probe:dev
        imagePullPolicy: IfNotPresent
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 6}}}
`

// serve runs n servers and waits for them. At places them is a line of the pod's spec, or nothing.
func (s *scene) serve(name string, n int, line string) {
	s.apply(serverYAML, name, n, line)
	s.rolledOut("deployment/" + name)
}

// onNode is a line of a pod's spec.
func onNode(name string) string { return "nodeSelector: {kubernetes.io/hostname: " + name + "}" }

// service makes a Service for the servers of the same name, TCP and UDP 80 to 8080, with more lines of its spec.
func (s *scene) service(name string, lines ...string) {
	s.apply(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  selector: {app: %[1]s}
  %[2]s
  ports:
  - {name: http, port: 80, targetPort: 8080, protocol: TCP}
  - {name: udp, port: 80, targetPort: 8080, protocol: UDP}
`, name, strings.Join(lines, "\n  "))
}

// nodePort is the port of a Service's first port on every node.
func (s *scene) nodePort(service string) string {
	return s.value("service/"+service, ".spec.ports[0].nodePort")
}

// client runs a pod on a node to ask from.
func (s *scene) client(node string) pod {
	name := "client-" + node
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 1
  %s
  containers: [{name: probe, image: "signpost/probe:dev", imagePullPolicy: IfNotPresent}]
`, name, onNode(node))
	s.must("wait", "--for=condition=Ready", "pod/"+name, "--timeout=120s")
	return pod{name: name, node: node, ip: s.value("pod/"+name, ".status.podIP")}
}

// everyPod waits until each of n servers answers at a URL, and nobody fails to.
func (s *scene) everyPod(what string, n int, ask func() []reply) {
	s.eventually(patience, what, func() error {
		by := map[string]int{}
		for _, r := range ask() {
			if r.Error != "" {
				return fmt.Errorf("an error: %s", r.Error)
			}
			by[r.Pod]++
		}
		if len(by) != n {
			return fmt.Errorf("%d pods answer, want %d: %v", len(by), n, by)
		}
		return nil
	})
}

// counts is what a load has done, see probe/load.go.
type counts struct {
	Requests, Failures map[string]int
	Errors             []string
}

// total adds up the kinds.
func total(by map[string]int) (n int) {
	for _, count := range by {
		n += count
	}
	return n
}

// load is a constant load from a pod on each node.
type load struct {
	s    *scene
	pods []pod
}

// load starts one: HTTP over short and kept connections, and DNS, of a Service of the scene.
func (s *scene) load(service string) *load {
	full := service + "." + s.ns + ".svc." + clusterDomain
	l := &load{s: s}
	for _, node := range nodeNames {
		name := "load-" + node
		s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  %s
  containers:
  - name: probe
    image: signpost/probe:dev
    imagePullPolicy: IfNotPresent
    args: [load, -http, "http://%s", -dns, %s]
`, name, onNode(node), full, full)
	}
	for _, node := range nodeNames {
		name := "load-" + node
		s.must("wait", "--for=condition=Ready", "pod/"+name, "--timeout=120s")
		l.pods = append(l.pods, pod{name: name, node: node, ip: s.value("pod/"+name, ".status.podIP")})
	}
	l.reach(500)
	return l
}

// counts adds up what the pods have counted. They are asked from outside, by their own addresses.
func (l *load) counts() counts {
	sum := counts{Requests: map[string]int{}, Failures: map[string]int{}}
	for _, p := range l.pods {
		var c counts
		out, err := l.s.in(outsideName, "curl", "-s", "-m", "10", "--retry", "3", "http://"+p.ip+":9090/counts")
		if err == nil {
			err = json.Unmarshal([]byte(out), &c)
		}
		if err != nil {
			l.s.t.Fatalf("ask %s on %s what it counted: %v", p.name, p.node, err)
		}
		for kind, n := range c.Requests {
			sum.Requests[kind] += n
		}
		for kind, n := range c.Failures {
			sum.Failures[kind] += n
		}
		for _, e := range c.Errors {
			sum.Errors = append(sum.Errors, p.node+" "+e)
		}
	}
	return sum
}

// reach waits until so many requests more have been made.
func (l *load) reach(n int) {
	before := total(l.counts().Requests)
	l.s.eventually(3*time.Minute, fmt.Sprintf("%d requests", n), func() error {
		if got := total(l.counts().Requests) - before; got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// reachTotal waits until so many requests have been made since the load began.
func (l *load) reachTotal(n int) {
	if more := n - total(l.counts().Requests); more > 0 {
		l.reach(more)
	}
}

// unharmed fails the test if any request of the load failed, and tells how many there were.
func (l *load) unharmed(what string) {
	c := l.counts()
	l.s.t.Logf("%s: %d requests %v, %d failed", what, total(c.Requests), c.Requests, total(c.Failures))
	if total(c.Failures) > 0 {
		l.s.t.Errorf("%s: %d of %d requests failed: %v\n%s", what, total(c.Failures), total(c.Requests), c.Failures, strings.Join(c.Errors, "\n"))
	}
}
