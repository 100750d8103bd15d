//go:build linux

package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// runSequences changes Services and routes at random, restarts the dataplanes, asks at
// random what the tables say, and plays scenarios among all that. In the end the kernel's
// state must be that of a fresh install.
func runSequences(t *testing.T, b Backend, all []scenario) {
	if b.State == nil {
		netlab.Skip(t, b.NoState)
	}
	w := newWorld(t, b, append(dialled(all), backgroundDestinations()...))
	check(t, b.Sequences, func(choose Choose) error {
		s := sequence{w: w, choose: choose, all: all}
		return s.explain(errors.Join(s.reset(), s.run(), s.compare(b)))
	})
	if b.Proven {
		return
	}
	for _, name := range []string{"no-update", "no-deletion", "no-masquerade", "no-refusal"} {
		t.Run("notice "+name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("not with -short")
			}
			noticeMutant(t, w, mutantOf(name))
		})
	}
}

// noticeMutant plays random changes and questions, and no scenarios, until one shows the fault.
func noticeMutant(t *testing.T, w *world, m mutant) {
	if err := w.become(m); err != nil {
		t.Fatal(err)
	}
	choose := func(n int, _ string) int { return rand.IntN(n) }
	for range 50 {
		s := sequence{w: w, choose: choose}
		if err := s.reset(); err != nil {
			t.Fatal(err)
		}
		if err := s.explain(s.run()); err != nil {
			t.Log(err)
			return
		}
	}
	t.Error("fifty sequences do not notice the fault")
}

// explain adds to an error what led there.
func (s *sequence) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nafter\n%s", err, strings.Join(s.said, "\n"))
}

// sequence is one run of random steps.
type sequence struct {
	w      *world
	choose Choose
	all    []scenario
	said   []string // the steps so far, as in a scenario
}

// The random Services and routes have addresses and ports that no scenario has.
var (
	backgroundServices = []string{"a", "b", "c"}
	backgroundRoutes   = []string{"x", "y"}
	backgroundIPs      = []string{"cluster-ip-200", "cluster-ip-201", "cluster-ip-202"} // one for each Service
	backgroundRouteAt  = []string{"cluster-ip-210", "external-ip-200", anyNode}
	backgroundExternal = []string{"external-ip-200", "load-balancer-200"} // shared: they collide
	backgroundPorts    = []uint16{80, 53}
	backgroundNode     = []uint16{31000, 31001} // shared too
)

// backgroundDestinations is what is asked of them.
func backgroundDestinations() []destination {
	var all []destination
	for _, host := range slices.Concat(backgroundIPs, backgroundExternal, []string{"cluster-ip-210"}) {
		for _, port := range backgroundPorts {
			all = append(all, destination{host, port})
		}
	}
	for _, host := range nodeNames {
		for _, port := range backgroundNode {
			all = append(all, destination{host, port})
		}
	}
	return all
}

// pick chooses one of a list.
func pick[T any](s *sequence, label string, list []T) T { return list[s.choose(len(list), label)] }

// some chooses a part of a list, in its order.
func some[T any](s *sequence, label string, list []T) []T {
	var part []T
	for _, item := range list {
		if s.choose(2, label) == 1 {
			part = append(part, item)
		}
	}
	return part
}

// reset removes what a sequence left that was cut off.
func (s *sequence) reset() error {
	for name := range s.w.services {
		delete(s.w.services, name)
		s.w.store.Delete(0, deletions(name)...)
	}
	clear(s.w.routes)
	return s.w.configure(config{})
}

func (s *sequence) run() error {
	p := s.w.begin(scenario{file: "sequence", config: s.w.config})
	for range 4 + s.choose(8, "steps") {
		if len(s.all) > 0 && s.choose(4, "what") == 0 {
			p.settle()
			s.scenario(p)
		} else {
			st := s.step()
			s.said = append(s.said, st.String())
			p.step(st)
		}
		for range 4 {
			s.ask(p)
		}
	}
	p.settle()
	if !p.broken {
		p.try("intact", s.w.intact())
	}
	if len(p.findings) > 0 {
		return errors.New(strings.Join(p.findings, "\n"))
	}
	return nil
}

// scenario plays one of the scenarios. It may leave another configuration.
func (s *sequence) scenario(p *play) {
	sc := pick(s, "scenario", s.all)
	s.said = append(s.said, "# "+sc.title())
	inner := s.w.play(sc)
	p.findings = append(p.findings, inner.findings...)
	p.broken = p.broken || inner.broken
}

// step chooses a change.
func (s *sequence) step() step {
	switch s.choose(8, "change") {
	case 0:
		return restart{}
	case 1:
		if names := s.there(); len(names) > 0 {
			return remove{pick(s, "name", names)}
		}
	case 2, 3:
		return s.route()
	case 4, 5:
		name := pick(s, "service", backgroundServices)
		if _, ok := s.w.services[name]; ok {
			return endpoints{name, s.endpoints()}
		}
	}
	return s.service()
}

// there are the names of what can be removed.
func (s *sequence) there() []string {
	var names []string
	for _, name := range slices.Concat(backgroundServices, backgroundRoutes) {
		_, isService := s.w.services[name]
		if _, isRoute := s.w.routes[name]; isService || isRoute {
			names = append(names, name)
		}
	}
	return names
}

func (s *sequence) service() service {
	n := s.choose(len(backgroundServices), "service")
	o := service{name: backgroundServices[n], created: uint32(1 + s.choose(3, "created")), families: bothFamilies}
	if s.choose(4, "families") == 0 {
		o.families = []family{pick(s, "family", bothFamilies)}
	}
	o.at = append([]string{backgroundIPs[n]}, some(s, "external", backgroundExternal)...)
	o.internalLocal, o.externalLocal = s.choose(3, "internal") == 0, s.choose(3, "external") == 0
	o.affinity = pick(s, "affinity", []uint32{0, 0, 3600})
	o.sources = pick(s, "sources", []string{"", "", "", "pods", "nodes,outside", "outside", "elsewhere", "pods,everybody"})
	for i, protocol := range []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP} {
		if i > 0 && s.choose(2, "port") == 0 {
			continue
		}
		o.ports = append(o.ports, port{
			name: protocol.String(), protocol: protocol, number: pick(s, "number", backgroundPorts),
			target: pick(s, "target", podPorts), nodePort: pick(s, "NodePort", append([]uint16{0}, backgroundNode...)),
		})
	}
	o.endpoints = endpoints{o.name, s.endpoints()}
	return o
}

func (s *sequence) endpoints() []endpoint {
	var list []endpoint
	for _, host := range s.backends() {
		list = append(list, endpoint{host, pick(s, "mark", []string{
			"", "", "", "", "", "unready", "terminating", "dying", "ipv4", "ipv6", "for-zone-1", "for-zone-2", "for-node-1",
		})})
	}
	return list
}

// backends chooses pods: few, many or none.
func (s *sequence) backends() []string {
	all := slices.Concat(podNames[0][2:], podNames[1][1:]) // not the clients and the stranger
	return some(s, "pod", all[:pick(s, "most", []int{0, 2, len(all)})])
}

func (s *sequence) route() route {
	r := route{
		name: pick(s, "route", backgroundRoutes), protocol: pick(s, "protocol", []cluster.Protocol{cluster.TCP, cluster.UDP}),
		at: destination{pick(s, "address", backgroundRouteAt), pick(s, "port", backgroundPorts)},
	}
	if r.at.host == anyNode {
		r.at.port = pick(s, "NodePort", backgroundNode)
	}
	for _, host := range s.backends() {
		r.to = append(r.to, destination{host, pick(s, "target", podPorts)})
	}
	for _, host := range s.backends() {
		r.local = append(r.local, destination{host, pick(s, "target", podPorts)})
	}
	r.policy = vip.Policy(s.choose(int(vip.AcceptAll), "policy"))
	if r.policy.LeadsTo(vip.Cluster) && len(r.to) == 0 || r.policy.LeadsTo(vip.Local) && len(r.local) == 0 {
		r.policy = vip.RejectAll
	}
	if r.restricted = r.at.host != anyNode && s.choose(4, "source ranges") == 0; r.restricted {
		r.sources = some(s, "source", slices.Concat(podNames[0], nodeNames, []string{outside}))
	}
	r.affinity = pick(s, "affinity", []uint32{0, 0, 60, 10800})
	return r
}

// ask asks one question, if it can be told from the table what must happen. Of the
// destinations most lead nowhere, so mostly it asks one of the others.
func (s *sequence) ask(p *play) {
	clients := slices.Concat(podNames[0], podNames[1], nodeNames, []string{outside})
	q := question{from: pick(s, "client", clients), family: pick(s, "family", s.w.families())}
	var touched, all []question
	for _, q.to = range backgroundDestinations() {
		for _, q.protocol = range []cluster.Protocol{cluster.TCP, cluster.UDP} {
			if all = append(all, q); s.w.routeTo(q) != nil {
				touched = append(touched, q)
			}
		}
	}
	if len(touched) > 0 && s.choose(5, "anything") > 0 {
		all = touched
	}
	q = pick(s, "question", all)
	want, ok := s.w.predict(q)
	if !ok {
		return
	}
	a := ask{from: []string{q.from}, protocols: []cluster.Protocol{q.protocol}, to: []destination{q.to}, families: []family{q.family}, want: want}
	s.said = append(s.said, a.String())
	p.step(a)
}

// compare holds the kernel's state of a node against a fresh install of the same table. What a
// dataplane keeps for the next change goes with a Sync.
func (s *sequence) compare(b Backend) error {
	if err := s.w.sync(); err != nil {
		return err
	}
	lab, err := netlab.Build(netlab.Config{Nodes: 1, IPv4Only: !s.w.lab.HasIPv6()})
	if err != nil {
		return err
	}
	defer lab.Close()
	n := s.choose(len(s.w.proxies), "node")
	p, now, want := s.w.proxies[n], "", ""
	fresh := &proxy{host: lab.Nodes[0].Host, open: b.Open, facts: p.facts, table: s.w.freshTable(n)}
	if err := fresh.start(); err != nil {
		return err
	}
	err = errors.Join(
		fresh.sync(),
		fresh.host.Do(func() (err error) { want, err = b.State(); return err }),
		p.host.Do(func() (err error) { now, err = b.State(); return err }),
		fresh.close(),
	)
	if err == nil && now != want {
		err = fmt.Errorf("%s is not as after a fresh install (-):\n%s", p.host.Name, difference(want, now))
	}
	return err
}

// difference lists the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	wanted, has := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range wanted {
		if !slices.Contains(has, line) {
			fmt.Fprintf(&b, "-%s\n", line)
		}
	}
	for _, line := range has {
		if !slices.Contains(wanted, line) {
			fmt.Fprintf(&b, "+%s\n", line)
		}
	}
	if b.Len() == 0 {
		return want + "\nis in another order:\n" + got
	}
	return b.String()
}
