//go:build linux

package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// parse reads a file of scenarios. Errors begin with file and line.
func parse(file, text string) ([]scenario, error) {
	p := parser{file: file, names: map[string]bool{}, known: map[string]string{}}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case unicode.IsSpace(rune(line[0])):
			if p.words == nil {
				return nil, fmt.Errorf("%s:%d: this line continues none", file, i+1)
			}
			p.words = append(p.words, words...)
		default:
			if err := p.statement(); err != nil {
				return nil, err
			}
			p.line, p.words = i+1, words
		}
	}
	if err := p.statement(); err != nil {
		return nil, err
	}
	return p.scenarios, nil
}

// parser takes statements apart, word by word.
type parser struct {
	file      string
	line      int
	words     []string // what is left of the statement
	scenarios []scenario
	names     map[string]bool   // of scenarios
	known     map[string]string // what there is in the current one, by name: aService, aRoute, connections
	err       error             // the first of the statement
}

// statement reads the statement that was collected, if any.
func (p *parser) statement() error {
	if p.words == nil {
		return nil
	}
	verb := p.next("a statement")
	read, ok := verbs[verb]
	switch {
	case !ok:
		p.fail("%q: expected a statement: scenario, fails, needs, config, service, endpoints, delete, route, restart, ask, hold or held", verb)
	case verb != "scenario" && len(p.scenarios) == 0:
		p.fail("%s: expected the name of a scenario first", verb)
	default:
		if st := read(p); st != nil && p.err == nil {
			s := p.current()
			s.steps = append(s.steps, st)
		}
	}
	if p.err == nil && len(p.words) > 0 {
		p.fail("%q: expected the end of the statement", p.words[0])
	}
	p.words = nil
	return p.err
}

// verbs read the rest of a statement, by its first word. Those that are no step give none.
var verbs = map[string]func(*parser) step{
	"scenario": (*parser).scenario, "fails": (*parser).fails, "needs": (*parser).needs, "config": (*parser).config,
	"service": (*parser).service, "endpoints": (*parser).endpoints, "delete": (*parser).remove,
	"route": (*parser).route, "restart": func(*parser) step { return restart{} },
	"ask":  func(p *parser) step { return p.ask(bothFamilies) },
	"ask4": func(p *parser) step { return p.ask([]family{ipv4}) },
	"ask6": func(p *parser) step { return p.ask([]family{ipv6}) },
	"hold": (*parser).hold, "held": (*parser).held,
}

func (p *parser) current() *scenario { return &p.scenarios[len(p.scenarios)-1] }

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
	}
}

// next takes the next word.
func (p *parser) next(what string) string {
	if len(p.words) == 0 {
		p.fail("expected %s", what)
		return ""
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

// takes takes the next word if it is this one.
func (p *parser) takes(word string) bool {
	if len(p.words) == 0 || p.words[0] != word {
		return false
	}
	p.words = p.words[1:]
	return true
}

// until takes the words up to one of these, or all.
func (p *parser) until(stops ...string) []string {
	n := slices.IndexFunc(p.words, func(w string) bool { return slices.Contains(stops, w) })
	if n < 0 {
		n = len(p.words)
	}
	words := p.words[:n]
	p.words = p.words[n:]
	return words
}

// all takes the rest of the statement.
func (p *parser) all(what string) []string {
	if len(p.words) == 0 {
		p.fail("expected %s", what)
	}
	return p.until()
}

func (p *parser) scenario() step {
	name := strings.Join(p.all("the name of the scenario"), " ")
	if p.names[name] {
		p.fail("there is a scenario %q already", name)
	}
	p.names[name], p.known = true, map[string]string{}
	p.scenarios = append(p.scenarios, scenario{file: p.file, name: name})
	return nil
}

func (p *parser) fails() step {
	if !p.takes("under") {
		p.fail("expected: fails under MUTANT…")
	}
	for _, name := range p.all("the names of mutants") {
		if !slices.Contains(mutantNames(), name) {
			p.fail("%q: expected the name of a mutant: %s", name, strings.Join(mutantNames(), ", "))
		}
		s := p.current()
		s.failsUnder = append(s.failsUnder, name)
	}
	return nil
}

func (p *parser) config() step {
	c := &p.current().config
	for _, word := range p.all("a word") {
		i := slices.IndexFunc(configWords, func(w configWord) bool { return w.word == word })
		if i < 0 {
			var known []string
			for _, w := range configWords {
				known = append(known, w.word)
			}
			p.fail("%q: expected one of %s", word, strings.Join(known, ", "))
			return nil
		}
		configWords[i].set(c)
	}
	return nil
}

// What can be known by a name.
const (
	aService    = "Service"
	aRoute      = "route"
	connections = "connection" // its name is held
)

func (p *parser) remove() step {
	name := p.existing(p.next("a name"), aService, aRoute)
	delete(p.known, name)
	return remove{name}
}

// existing checks that there is something of this name.
func (p *parser) existing(name string, kinds ...string) string {
	if !slices.Contains(kinds, p.known[name]) {
		p.fail("%q: expected the name of a %s that is there", name, strings.Join(kinds, " or "))
	}
	return name
}

// makes notes that there is something of this name. The same may be made anew.
func (p *parser) makes(name, kind string) {
	if was := p.known[name]; was != "" && was != kind {
		p.fail("%q: there is a %s of this name", name, was)
	}
	p.known[name] = kind
}

func (p *parser) hold() step {
	h := hold{line: p.line, count: int(p.number(p.next("how many connections"), 1000))}
	h.from, h.to = p.client(p.next("a host")), p.destination(p.next("what is dialled"))
	p.makes("held", connections)
	return h
}

func (p *parser) held() step {
	delete(p.known, p.existing("held", connections))
	h := held{p.line, p.outcome()}
	if h.want.kind != answered {
		p.fail("held: expected backends that answer")
	}
	return h
}

func (p *parser) ask(families []family) step {
	a := ask{line: p.line, families: families}
	for host := range strings.SplitSeq(p.next("who asks"), ",") {
		a.from = append(a.from, p.client(host))
	}
	for name := range strings.SplitSeq(p.next("a protocol"), ",") {
		a.protocols = append(a.protocols, p.protocol(name))
	}
	for name := range strings.SplitSeq(p.next("what is dialled"), ",") {
		a.to = append(a.to, p.destination(name))
		if a.to[len(a.to)-1].host == anyNode {
			p.fail("%s: expected the name of a node", name)
		}
	}
	a.want = p.outcome()
	return a
}

func (p *parser) outcome() outcome {
	if !p.takes("->") {
		p.fail("expected -> and an outcome")
	}
	var o outcome
	text := strings.Join(p.all("an outcome"), " ")
	for _, k := range []kind{refused, dropped, untouched} {
		if text == k.String() {
			o.kind = k
			return o
		}
	}
	for word, how := range map[string]stuck{"one of ": oneOf, "the same of ": sameOf} {
		if rest, ok := strings.CutPrefix(text, word); ok {
			o.stuck, text = how, rest
		}
	}
	for group := range strings.SplitSeq(text, ", ") {
		words := strings.Fields(group)
		switch {
		case len(words) == 1 && words[0] == "evenly" && len(o.answers) > 0:
			o.evenly = true
			continue
		case len(words) == 2 && words[0] == "after" && len(o.answers) > 0:
			o.pause = uint16(p.number(words[1], 60))
			continue
		}
		source := ""
		if len(words) > 1 {
			source = words[len(words)-1]
		}
		if source != "kept" && source != "masqueraded" {
			p.fail("%q: expected refused, dropped, untouched, or HOST… and kept or masqueraded", group)
			return o
		}
		for _, w := range words[:len(words)-1] {
			o.answers = append(o.answers, answer{p.backend(w), source == "masqueraded"})
		}
	}
	return o
}

func (p *parser) route() step {
	r := route{name: p.next("a name")}
	p.makes(r.name, aRoute)
	at, protocol, _ := strings.Cut(p.next("ADDRESS:PORT/PROTOCOL"), "/")
	r.at, r.protocol = p.destination(at), p.protocol(protocol)
	if kindOf(r.at.host) == "" && r.at.host != anyNode {
		p.fail("%q: expected a virtual address or %s", r.at.host, anyNode)
	}
	r.policy = p.policy()
	for p.err == nil && len(p.words) > 0 {
		p.routeWord(&r)
	}
	return r
}

// routeWords begin the parts of a route.
var routeWords = []string{"to", "local", "sources", "affinity"}

func (p *parser) routeWord(r *route) {
	backends := func() (list []destination) {
		words := p.until(routeWords...)
		if len(words) == 0 {
			p.fail("expected the backends")
		}
		for _, w := range words {
			list = append(list, p.backend(w))
		}
		return list
	}
	switch word := p.next("a word"); word {
	case "to":
		r.to = backends()
	case "local":
		r.local = backends()
	case "sources":
		r.restricted = true
		for _, host := range p.until(routeWords...) {
			r.sources = append(r.sources, p.client(host))
		}
	case "affinity":
		r.affinity = uint32(p.number(p.next("seconds"), 86400))
	default:
		p.fail("%q: expected one of %s", word, strings.Join(routeWords, ", "))
	}
}

// policy reads the text of a policy.
func (p *parser) policy() vip.Policy {
	var words []string
	for c := range vip.Classes {
		words = append(words, p.next(c.String()+"=DECISION"))
	}
	text := strings.Join(words, " ")
	for policy := range vip.Policies {
		if policy.String() == text && policy != vip.AcceptAll {
			return policy
		}
	}
	p.fail("%q: expected a policy that vip.Build makes", text)
	return 0
}

func (p *parser) protocol(name string) cluster.Protocol {
	for _, proto := range []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP} {
		if name == proto.String() {
			return proto
		}
	}
	p.fail("%q: expected tcp, udp or sctp", name)
	return 0
}

// number reads a number from 1 to most.
func (p *parser) number(text string, most int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most {
		p.fail("%q: expected a number from 1 to %d", text, most)
	}
	return n
}

func (p *parser) portNumber(text string) uint16 { return uint16(p.number(text, 65535)) }

func (p *parser) client(name string) string {
	if !isClient(name) {
		p.fail("%q: expected a host that can ask", name)
	}
	return name
}

func (p *parser) destination(text string) destination {
	host, number, _ := strings.Cut(text, ":")
	if kindOf(host) == "" && home(host) < 0 && host != localhost && host != anyNode {
		p.fail("%q: expected a host or a virtual address", host)
	}
	return destination{host, p.portNumber(number)}
}

// backend reads HOST or HOST:PORT.
func (p *parser) backend(text string) destination {
	host, number, found := strings.Cut(text, ":")
	d := destination{host, defaultTarget}
	if found {
		d.port = p.portNumber(number)
	}
	if !isPod(host) && !slices.Contains(nodeNames, host) {
		p.fail("%q: expected a pod or a node", host)
	}
	return d
}
