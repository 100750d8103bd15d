//go:build linux

package conformance

import (
	"fmt"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// scenario is what happens on the network, and what clients must see of it.
type scenario struct {
	file, name string
	failsUnder []string // names of mutants
	needs      []string // what not every dataplane can
	config     config
	steps      []step
}

// config is what an administrator chooses for all nodes.
type config struct {
	masqueradeAll bool
	pods          podsBy
	nodePorts     nodePortsAt
	serviceCIDRs  bool // where ClusterIPs come from is known
	wideCIDRs     bool // and these ranges take in the nodes and pods, too
	unaware       bool // of what the ranges overlap
	guarded       bool // nodes keep guardedPorts to themselves
}

// podsBy is how nodes tell pods from others.
type podsBy uint8

const (
	byCIDRs podsBy = iota
	byNothing
	byBridge // the interface that pods' packets come in by
	byPrefix // the beginning of its name
)

// nodePortsAt is which addresses of a node serve NodePorts.
type nodePortsAt uint8

const (
	atPrimary nodePortsAt = iota
	everywhere
)

// step is a statement of a scenario. Its String is that statement, in one line.
type step interface {
	fmt.Stringer
	play(*play)
}

// service is a Service with the ports of its endpoints.
type service struct {
	name     string
	created  uint32 // Unix seconds
	at       []string
	families []family
	policy
	takes     string // external IPs that another has, with commas
	ports     []port
	endpoints endpoints
}

// policy is who may use a Service, and how. The zero value is that of most.
type policy struct {
	internalLocal, externalLocal bool
	affinity                     uint32 // seconds
	sources                      string // names of networks, with commas: see sourceNetworks
	proxied                      string // names of load balancers' addresses, with commas, that nodes leave alone
}

type port struct {
	name             string
	number           uint16
	protocol         cluster.Protocol
	target, nodePort uint16 // nodePort 0: none
}

// endpoint is a host that serves a Service.
type endpoint struct {
	host  string
	marks string // words with commas: see marks
}

// endpoints replaces the endpoints of a Service.
type endpoints struct {
	service string
	list    []endpoint
}

// remove deletes a Service or a route.
type remove struct{ name string }

// route is a frontend without a Service.
type route struct {
	name      string
	at        destination
	protocol  cluster.Protocol
	policy    vip.Policy
	to, local []destination
	sources   []string // hosts; none is nobody where restricted is set
	affinity  uint32   // seconds

	restricted bool
}

// restart closes the dataplanes and opens them again.
type restart struct{}

// ask is a question to a frontend: one for each of the combinations.
type ask struct {
	line      int
	from      []string
	protocols []cluster.Protocol
	to        []destination
	families  []family
	want      outcome
}

// hold opens TCP connections.
type hold struct {
	line, count int
	from        string
	to          destination
}

// held uses the connections that were opened.
type held struct {
	line int
	want outcome
}

// outcome is what a client sees.
type outcome struct {
	kind    kind
	answers []answer // of answered, in the order of the text
	evenly  bool
	stuck   stuck
	pause   uint16 // seconds before each connection
}

// stuck is whether a client meets one backend every time (session affinity).
type stuck uint8

const (
	spread stuck = iota
	oneOf        // one of those, each time the same
	sameOf       // the one that this client met before
)

// kind is how a connection ends.
type kind uint8

const (
	answered kind = iota
	refused
	dropped
	untouched
)

func (k kind) String() string { return [...]string{"answered", "refused", "dropped", "untouched"}[k] }

// answer is a backend that answers, and what it sees of the client.
type answer struct {
	from       destination
	masquerade bool
}

// text is a destination without the port that goes without saying.
func (d destination) text() string {
	if d.port == defaultTarget {
		return d.host
	}
	return d.String()
}

func (s scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s\n", s.name)
	if len(s.failsUnder) > 0 {
		fmt.Fprintf(&b, "fails under %s\n", strings.Join(s.failsUnder, " "))
	}
	if len(s.needs) > 0 {
		fmt.Fprintf(&b, "needs %s\n", strings.Join(s.needs, " "))
	}
	if words := s.config.words(); len(words) > 0 {
		fmt.Fprintf(&b, "config %s\n", strings.Join(words, " "))
	}
	for _, st := range s.steps {
		fmt.Fprintf(&b, "%v\n", st)
	}
	return b.String()
}

// configWord is what a config can say.
type configWord struct {
	word string
	set  func(*config)
	is   func(config) bool
}

var configWords = []configWord{
	{"masquerade-all", func(c *config) { c.masqueradeAll = true }, func(c config) bool { return c.masqueradeAll }},
	{"no-pod-cidrs", func(c *config) { c.pods = byNothing }, func(c config) bool { return c.pods == byNothing }},
	{"pods-by-bridge", func(c *config) { c.pods = byBridge }, func(c config) bool { return c.pods == byBridge }},
	{"pods-by-prefix", func(c *config) { c.pods = byPrefix }, func(c config) bool { return c.pods == byPrefix }},
	{"every-address", func(c *config) { c.nodePorts = everywhere }, func(c config) bool { return c.nodePorts == everywhere }},
	{"service-cidrs", func(c *config) { c.serviceCIDRs = true }, func(c config) bool { return c.serviceCIDRs }},
	{"wide-service-cidrs", func(c *config) { c.wideCIDRs = true }, func(c config) bool { return c.wideCIDRs }},
	{"unaware-of-overlaps", func(c *config) { c.unaware = true }, func(c config) bool { return c.unaware }},
	{"guarded", func(c *config) { c.guarded = true }, func(c config) bool { return c.guarded }},
}

func (c config) words() []string {
	var words []string
	for _, w := range configWords {
		if w.is(c) {
			words = append(words, w.word)
		}
	}
	return words
}

func (s service) String() string {
	text := "service " + s.name + " at " + strings.Join(s.at, " ")
	if len(s.families) == 1 {
		text += " families " + s.families[0].String()
	}
	if s.created != 0 {
		text += fmt.Sprintf(" created %d", s.created)
	}
	text += s.policy.text()
	if s.takes != "" {
		text += " takes " + s.takes
	}
	for _, p := range s.ports {
		text += " port " + p.String()
	}
	if len(s.endpoints.list) > 0 {
		text += " endpoints" + s.endpoints.text()
	}
	return text
}

func (p policy) text() string {
	text := ""
	if p.internalLocal {
		text += " internal local"
	}
	if p.externalLocal {
		text += " external local"
	}
	if p.affinity != 0 {
		text += fmt.Sprintf(" affinity %d", p.affinity)
	}
	if p.sources != "" {
		text += " sources " + p.sources
	}
	if p.proxied != "" {
		text += " proxied " + p.proxied
	}
	return text
}

func (p port) String() string {
	text := fmt.Sprintf("%d/%v", p.number, p.protocol)
	if p.name != "" {
		text = p.name + ":" + text
	}
	if p.target != p.number {
		text += fmt.Sprintf(" to %d", p.target)
	}
	if p.nodePort != 0 {
		text += fmt.Sprintf(" node-port %d", p.nodePort)
	}
	return text
}

func (e endpoints) String() string { return "endpoints " + e.service + e.text() }

func (e endpoints) text() string {
	text := ""
	for _, ep := range e.list {
		text += " " + ep.host
		if ep.marks != "" {
			text += "(" + ep.marks + ")"
		}
	}
	return text
}

// marks are what can be special about an endpoint. Without one it is ready in both families.
var marks = map[string]func(*cluster.Endpoint){
	"unready":     func(e *cluster.Endpoint) { e.Conditions = 0 },
	"terminating": func(e *cluster.Endpoint) { e.Conditions = cluster.Serving | cluster.Terminating },
	"dying":       func(e *cluster.Endpoint) { e.Conditions = cluster.Terminating }, // and does not serve any more
	"ipv4":        func(e *cluster.Endpoint) { e.Conditions *= condition(e.Addr.Is4()) },
	"ipv6":        func(e *cluster.Endpoint) { e.Conditions *= condition(!e.Addr.Is4()) },
	"for-zone-1":  func(e *cluster.Endpoint) { e.ForZones = cluster.MakeAtom("zone-1") },
	"for-zone-2":  func(e *cluster.Endpoint) { e.ForZones = cluster.MakeAtom("zone-2") },
	"for-node-1":  func(e *cluster.Endpoint) { e.ForNodes = cluster.MakeAtom("node-1") },
	"for-node-2":  func(e *cluster.Endpoint) { e.ForNodes = cluster.MakeAtom("node-2") },
}

func condition(holds bool) cluster.Conditions {
	if holds {
		return 1
	}
	return 0
}

// in is the endpoint as the API tells it, at its address in one family.
func (e endpoint) in(w *world, f family) cluster.Endpoint {
	made := cluster.Endpoint{
		Addr: w.addr(e.host, f), Node: cluster.MakeAtom(nodeNames[home(e.host)]), Conditions: cluster.Ready | cluster.Serving,
	}
	for _, word := range strings.Split(e.marks, ",") {
		if mark, ok := marks[word]; ok {
			mark(&made)
		}
	}
	return made
}

func (r remove) String() string  { return "delete " + r.name }
func (restart) String() string   { return "restart" }
func (h hold) String() string    { return fmt.Sprintf("hold %d %s %v", h.count, h.from, h.to) }
func (h held) String() string    { return "held -> " + h.want.String() }
func (o outcome) String() string { return o.text() }

func (r route) String() string {
	text := fmt.Sprintf("route %s %v/%v %v", r.name, r.at, r.protocol, r.policy)
	for _, list := range []struct {
		word string
		to   []destination
	}{{" to", r.to}, {" local", r.local}} {
		if len(list.to) > 0 {
			text += list.word
		}
		for _, d := range list.to {
			text += " " + d.text()
		}
	}
	if r.restricted {
		text += strings.TrimRight(" sources "+strings.Join(r.sources, " "), " ")
	}
	if r.affinity > 0 {
		text += fmt.Sprintf(" affinity %d", r.affinity)
	}
	return text
}

func (a ask) String() string {
	var protocols, to []string
	for _, p := range a.protocols {
		protocols = append(protocols, p.String())
	}
	for _, d := range a.to {
		to = append(to, d.String())
	}
	word := "ask"
	if len(a.families) == 1 {
		word = [...]string{"ask4", "ask6"}[a.families[0]]
	}
	return fmt.Sprintf("%s %s %s %s -> %v", word,
		strings.Join(a.from, ","), strings.Join(protocols, ","), strings.Join(to, ","), a.want)
}

// text joins the backends that see the same of the client.
func (o outcome) text() string {
	if o.kind != answered {
		return o.kind.String()
	}
	var b strings.Builder
	b.WriteString([...]string{"", "one of ", "the same of "}[o.stuck])
	for i, a := range o.answers {
		b.WriteString(a.from.text())
		if i+1 < len(o.answers) && o.answers[i+1].masquerade == a.masquerade {
			b.WriteString(" ")
			continue
		}
		b.WriteString(map[bool]string{false: " kept", true: " masqueraded"}[a.masquerade])
		if i+1 < len(o.answers) {
			b.WriteString(", ")
		}
	}
	if o.evenly {
		b.WriteString(", evenly")
	}
	if o.pause > 0 {
		fmt.Fprintf(&b, ", after %d", o.pause)
	}
	return b.String()
}
