//go:build linux

package conformance

import (
	"math"
	"slices"
	"strings"
)

// serviceWords begin the parts of a service.
var serviceWords = []string{
	"at", "families", "created", "internal", "external", "affinity", "sources", "proxied", "takes", "port", "endpoints",
}

func (p *parser) service() step {
	s := service{name: p.next("a name"), families: bothFamilies}
	for p.err == nil && len(p.words) > 0 {
		switch word := p.next("a word"); word {
		case "at":
			s.at = p.addresses(p.until(serviceWords...))
		case "families":
			s.families = p.family(p.next("a family"))
		case "created":
			s.created = uint32(p.number(p.next("seconds"), math.MaxUint32))
		case "internal":
			s.internalLocal = p.local()
		case "external":
			s.externalLocal = p.local()
		case "affinity":
			s.affinity = uint32(p.number(p.next("seconds"), 86400))
		case "sources":
			s.sources = p.named(p.next("the names of networks"), func(n string) bool { _, ok := sourceNetworks[n]; return ok })
		case "proxied":
			s.proxied = p.named(p.next("addresses"), func(n string) bool { return kindOf(n) == "load-balancer" })
		case "takes":
			s.takes = p.named(p.next("addresses"), func(n string) bool { return kindOf(n) != "" || slices.Contains(nodeNames, n) })
		case "port":
			s.ports = append(s.ports, p.port())
		case "endpoints":
			s.endpoints.list = p.hosts(p.all("endpoints"))
		default:
			p.fail("%q: expected one of %s", word, strings.Join(serviceWords, ", "))
		}
	}
	s.endpoints.service = s.name
	p.makes(s.name, aService)
	if len(s.at) == 0 || len(s.ports) == 0 {
		p.fail("service %s: expected at ADDRESS… and a port", s.name)
	}
	return s
}

// addresses checks the addresses of a Service: a ClusterIP, then any others.
func (p *parser) addresses(names []string) []string {
	for i, name := range names {
		if k := kindOf(name); k == "" || (k == "cluster-ip") != (i == 0) {
			p.fail("%q: expected one cluster-ip-N, then external-ip-N and load-balancer-N", name)
		}
	}
	return names
}

func (p *parser) family(name string) []family {
	for _, f := range bothFamilies {
		if name == f.String() {
			return []family{f}
		}
	}
	p.fail("%q: expected ipv4 or ipv6", name)
	return nil
}

// port reads [NAME:]NUMBER/PROTOCOL [to NUMBER] [node-port NUMBER].
func (p *parser) port() port {
	var o port
	number, protocol, _ := strings.Cut(p.next("a port"), "/")
	if name, rest, named := strings.Cut(number, ":"); named {
		o.name, number = name, rest
	}
	o.number, o.protocol = p.portNumber(number), p.protocol(protocol)
	o.target = o.number
	if p.takes("to") {
		o.target = p.portNumber(p.next("the target port"))
	}
	if p.takes("node-port") {
		o.nodePort = p.portNumber(p.next("the NodePort"))
	}
	return o
}

func (p *parser) endpoints() step {
	e := endpoints{service: p.existing(p.next("the name of a Service"), aService)}
	e.list = p.hosts(p.until())
	return e
}

// hosts reads HOST or HOST(MARK,…).
func (p *parser) hosts(words []string) []endpoint {
	var list []endpoint
	for _, w := range words {
		host, words, marked := strings.Cut(w, "(")
		words, closed := strings.CutSuffix(words, ")")
		if marked != closed || strings.Contains(host, ":") {
			p.fail("%q: expected HOST or HOST(MARK,…)", w)
		}
		if marked {
			words = p.named(words, func(m string) bool { return marks[m] != nil })
		}
		list = append(list, endpoint{p.backend(host).host, words})
	}
	return list
}

// local reads the traffic policy Local.
func (p *parser) local() bool {
	if !p.takes("local") {
		p.fail("expected local")
	}
	return true
}

// named checks names that are separated by commas.
func (p *parser) named(list string, known func(string) bool) string {
	for name := range strings.SplitSeq(list, ",") {
		if !known(name) {
			p.fail("%q: not known here", name)
		}
	}
	return list
}
