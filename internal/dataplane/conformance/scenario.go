//go:build linux

package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// scenario is what happens on the network, and what clients must see of it.
type scenario struct {
	file, name string
	failsUnder []string // names of mutants
	config     config
	steps      []step
}

// config is what an administrator chooses for all nodes.
type config struct {
	masqueradeAll bool
	pods          podWay
	serviceCIDRs  bool // told to the dataplanes
	everyAddress  bool // of a node serves NodePorts
}

// podWay is how pods are told from the rest.
type podWay uint8

const (
	byCIDR podWay = iota
	byBridge
	byPrefix
	noWay
)

// podWays are the words for all ways but the first.
var podWays = map[podWay]string{byBridge: "pods-by-bridge", byPrefix: "pods-by-prefix", noWay: "no-pod-cidrs"}

// step is a statement of a scenario. Its String is that statement, in one line.
type step interface {
	fmt.Stringer
	play(*play)
}

// service is a Service with the ports of its endpoints.
type service struct {
	name      string
	created   uint32 // Unix seconds
	at        []string
	families  []family
	ports     []port
	endpoints endpoints
}

type port struct {
	name             string
	number           uint16
	protocol         cluster.Protocol
	target, nodePort uint16 // nodePort 0: none
}

// endpoint is a host that serves a Service, with its condition and families.
type endpoint struct {
	host       string
	conditions cluster.Conditions
	families   []family
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
	decisions [vip.Classes]vip.Decision
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
	sticky  bool // the same one each time
}

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
	if words := s.config.words(); len(words) > 0 {
		fmt.Fprintf(&b, "config %s\n", strings.Join(words, " "))
	}
	for _, st := range s.steps {
		fmt.Fprintf(&b, "%v\n", st)
	}
	return b.String()
}

func (c config) words() []string {
	var words []string
	if c.masqueradeAll {
		words = append(words, "masquerade-all")
	}
	if c.pods != byCIDR {
		words = append(words, podWays[c.pods])
	}
	if c.serviceCIDRs {
		words = append(words, "service-cidrs")
	}
	if c.everyAddress {
		words = append(words, "every-address")
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
	for _, p := range s.ports {
		text += " port " + p.String()
	}
	if len(s.endpoints.list) > 0 {
		text += " endpoints" + s.endpoints.text()
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
		if m := ep.mark(); m != "" {
			text += "(" + m + ")"
		}
	}
	return text
}

// marks are the special endpoints, by their words.
var marks = map[string]endpoint{
	"":            {conditions: cluster.Ready | cluster.Serving, families: bothFamilies},
	"unready":     {families: bothFamilies},
	"terminating": {conditions: cluster.Serving | cluster.Terminating, families: bothFamilies},
	"ipv4":        {conditions: cluster.Ready | cluster.Serving, families: []family{ipv4}},
	"ipv6":        {conditions: cluster.Ready | cluster.Serving, families: []family{ipv6}},
}

func (e endpoint) mark() string {
	for word, m := range marks {
		if m.conditions == e.conditions && slices.Equal(m.families, e.families) {
			return word
		}
	}
	return "unknown"
}

func (r remove) String() string  { return "delete " + r.name }
func (restart) String() string   { return "restart" }
func (h hold) String() string    { return fmt.Sprintf("hold %d %s %v", h.count, h.from, h.to) }
func (h held) String() string    { return "held -> " + h.want.String() }
func (o outcome) String() string { return o.text() }

func (r route) String() string {
	text := fmt.Sprintf("route %s %v/%v", r.name, r.at, r.protocol)
	for c, d := range r.decisions {
		text += fmt.Sprintf(" %v=%v", vip.Class(c), d)
	}
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
	if o.sticky {
		b.WriteString(", always the same")
	}
	return b.String()
}
