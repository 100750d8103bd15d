package signpost

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// whyPrefix before any name of our zones queries a TXT record that explains the answer,
// with the option why: which objects it comes from, or why the name does not exist.
const whyPrefix = "_why."

// whyMost bounds lists in an explanation: it should fit into a UDP answer.
const whyMost = 6

// explained answers a query for a name with whyPrefix; name is in lower case and without
// it. The explanation comes from find, as the answer does, so the two always agree. It must
// not be cached.
func (s *Signpost) explained(q question, name string) answer {
	if q.qtype != dns.TypeTXT {
		return answer{}
	}
	return answer{records: []dns.RR{&dns.TXT{Hdr: header(q.owner, dns.TypeTXT, 0), Txt: s.explain(name)}}}
}

// explain returns the lines of an explanation.
func (s *Signpost) explain(name string) []string {
	q := s.newQuestion(name, dns.TypeNone)
	if q.zone == nil {
		return []string{name + " is in no zone of ours"}
	}
	n := s.find(&q)
	var lines []string
	if n.kind == missing {
		lines = append(lines, name+" does not exist: "+s.missWords(q.zone, &n))
		if s.next != nil && s.fall.Through(name) {
			lines = append(lines, "the query goes on to the next plugin (fallthrough)")
		}
	} else {
		words := nodeWords[n.kind]
		if n.outside {
			words += ", as clients outside the cluster see it"
		}
		lines = append(lines, name+" is "+words)
		lines = append(lines, s.sources(&n)...)
	}
	lines = append(lines, s.indexLine())
	for i := range lines {
		lines[i] = cut(lines[i], 255) // of a character-string, RFC 1035 §3.3
	}
	return lines
}

func cut(text string, most int) string {
	if len(text) > most {
		return text[:most-3] + "..."
	}
	return text
}

// nodeWords describes what stands at a name, and which types it has.
var nodeWords = map[nodeKind]string{
	empty:      "an inner node: it exists because of names below it, and has no records",
	apex:       "the top of the zone: SOA, NS",
	nameserver: "the name of this server: A, AAAA",
	version:    "the version of the DNS specification: TXT",
	clusterIP:  "a Service with an address of its own: A, AAAA, SRV",
	headless:   "a headless Service: A, AAAA, SRV of its ready endpoints",
	external:   "a Service of type ExternalName: CNAME",
	portName:   "a port of a Service: SRV",
	endpoint:   "an endpoint of a Service: A, AAAA, SRV",
	inZone:     "the endpoints of a Service in a topology zone: A, AAAA, SRV",
	pod:        "the address of a pod: A or AAAA",
	pointer:    "an address: PTR",
	why:        "an explanation: TXT",
}

// indexLine describes the age of the index.
func (s *Signpost) indexLine() string {
	state := "synced"
	if !s.store.Synced() {
		state = "restored after a restart, not synced"
	}
	line := fmt.Sprintf("index at resourceVersion %d, %s", s.store.Version(), state)
	if s.heard == nil {
		return line
	}
	if heard := s.heard(); !heard.IsZero() {
		line += ", confirmed " + time.Since(heard).Round(time.Second).String() + " ago"
	}
	return line
}

// sources lists the objects from which a node is made.
func (s *Signpost) sources(n *node) []string {
	switch {
	case n.entry != nil:
		return n.entrySources(n.standsForListed)
	case n.kind == pod && s.pods == podsInsecure:
		return []string{"pods insecure: the name says its own address, whether a pod has it or not"}
	case n.kind == pod:
		var lines []string
		for p := range s.store.PodsAt(n.addr) {
			lines = append(lines, "pod "+p.Key.String())
		}
		return lines
	case n.kind == pointer:
		var lines []string
		for o := s.store.Owners(n.addr); o.Valid(); o = o.Next() {
			if e := o.Entry(); e != nil {
				lines = append(lines, (&node{entry: e}).entrySources(func(ep *cluster.Endpoint) bool { return ep.Addr == n.addr })...)
			}
		}
		return lines
	}
	return nil
}

// entrySources describes a Service, its EndpointSlices and the requested ones of its
// endpoints, ready or not.
func (n *node) entrySources(asked func(*cluster.Endpoint) bool) []string {
	e := n.entry
	v4, v6 := e.Ready()
	lines := []string{fmt.Sprintf("service %v resourceVersion %d: %d addresses, %d ports, %d of %d endpoints ready",
		e.Service.Key, e.Service.Version, len(e.Service.ClusterIPs), len(e.Service.Ports), v4+v6+e.Repeated(), e.Size())}
	own := slices.DeleteFunc(slices.Clone(e.Slices), func(sl *cluster.Slice) bool { return !n.has(sl) })
	for i, sl := range own {
		if i == whyMost {
			lines = append(lines, fmt.Sprintf("and %d more endpointslices", len(own)-i))
			break
		}
		ready := 0
		for i := range sl.Endpoints {
			if sl.Endpoints[i].Has(cluster.Ready) {
				ready++
			}
		}
		lines = append(lines, fmt.Sprintf("endpointslice %v resourceVersion %d: %d of %d endpoints ready", sl.Key, sl.Version, ready, len(sl.Endpoints)))
	}
	first, all := n.someEndpoints(asked)
	for _, ep := range first {
		lines = append(lines, "endpoint "+endpointWords(ep))
	}
	if all > len(first) {
		lines = append(lines, fmt.Sprintf("and %d more endpoints", all-len(first)))
	}
	return lines
}

// listed yields the endpoints of the part of a Service for which the name stands, ready
// or not.
func (n *node) listed() iter.Seq[*cluster.Endpoint] {
	return func(yield func(*cluster.Endpoint) bool) {
		for _, sl := range n.entry.Slices {
			for i := range sl.Endpoints {
				if n.has(sl) && !yield(&sl.Endpoints[i]) {
					return
				}
			}
		}
	}
}

// standsForListed reports whether an endpoint, ready or not, is one of this name's.
func (n *node) standsForListed(ep *cluster.Endpoint) bool {
	ready := *ep
	ready.Conditions |= cluster.Ready
	return n.standsFor(&ready)
}

// someEndpoints returns the first few of the requested endpoints, and how many there are.
func (n *node) someEndpoints(asked func(*cluster.Endpoint) bool) (first []*cluster.Endpoint, all int) {
	for ep := range n.listed() {
		if !asked(ep) {
			continue
		}
		if all++; all <= whyMost {
			first = append(first, ep)
		}
	}
	return first, all
}

// endpointWords describes an endpoint and its state.
func endpointWords(ep *cluster.Endpoint) string {
	text := ep.Addr.String()
	if ep.Hostname != "" {
		text += " " + ep.Hostname
	}
	if node := ep.Node.String(); node != "" {
		text += " on " + node
	}
	switch {
	case ep.Has(cluster.Superseded):
		return text + " is in a newer endpointslice"
	case ep.Has(cluster.Ready):
		text += " is ready"
	default:
		text += " is not ready"
	}
	if ep.Has(cluster.Terminating) {
		text += ", terminates"
	}
	if ep.Has(cluster.Serving | cluster.Terminating) {
		text += " and serves"
	}
	return text
}

// list joins the first few of a list.
func list(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	if len(items) > whyMost {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:whyMost], ", "), len(items)-whyMost)
	}
	return strings.Join(items, ", ")
}

// missWords returns the reason that find gave for a missing name, in words.
func (s *Signpost) missWords(z *zone, n *node) string {
	switch n.miss {
	case missByte:
		return "no name of Kubernetes has such a byte"
	case missOutside:
		return "clients outside the cluster see SERVICE.NAMESPACE of Services with external addresses, their ports and headless endpoints"
	case missService, missNamespace:
		if n.miss == missService && s.hasNamespace(z, n.within) {
			return fmt.Sprintf("no Service %q is in the namespace %q (or selected by the stanza's options)%s", n.label, n.within, s.namesakes(z, n.label))
		}
		return fmt.Sprintf("no namespace %q is there (or selected by the stanza's options)", n.within)
	case missUnnamed:
		return unnamedWords(n)
	case missIgnored:
		return fmt.Sprintf("no endpoint of %v is ready, and ignore empty_service is set", n.entry.Service.Key)
	case missAlias:
		return fmt.Sprintf("Service %v is an ExternalName, which has nothing below it", n.entry.Service.Key)
	case missPort:
		return fmt.Sprintf("Service %v has no such port; with names it has: %s", n.entry.Service.Key, list(portNames(n.entry)))
	case missDepth:
		return fmt.Sprintf("left of an endpoint's label, or of _tcp, _udp and _sctp, there is nothing: %q", n.label)
	case missEndpoint:
		return endpointMissWords(n)
	case missCluster:
		return fmt.Sprintf("Service %v is not headless, or has no ready endpoint in a cluster %q; it has slices of: %s", n.entry.Service.Key, n.label, list(clustersOf(n)))
	case missZonal:
		return fmt.Sprintf("below _zone of a headless Service there are pin and prefer, and no %q", n.label)
	case missPods:
		return "names of pods are off (pods disabled)"
	case missDashed:
		return fmt.Sprintf("%q is no address with dashes", n.label)
	case missPod:
		return fmt.Sprintf("no running pod in the namespace %q has the address %v", n.within, n.addr)
	case missSpelling:
		return "it spells no address"
	case missPrefix:
		p, _ := parseReverse(n.label)
		return fmt.Sprintf("no address in %v is a ClusterIP or a ready endpoint", p)
	case missAddress:
		if s.store.Owners(n.addr).Valid() {
			return fmt.Sprintf("the option ptr gives endpoints like %v no name", n.addr)
		}
		return fmt.Sprintf("%v is no ClusterIP and no ready endpoint", n.addr)
	}
	return fmt.Sprintf("below a zone there are svc, pod, dns and dns-version, and no %q", n.label)
}

// mostNamesakes is how many namespaces namesakes names.
const mostNamesakes = 3

// namesakes lists namespaces with a Service of a name, because users forget the namespace.
func (s *Signpost) namesakes(z *zone, service string) string {
	var in []string
	for namespace := range s.index(z).Namespaces() {
		if s.index(z).Service(namespace, service) == nil {
			continue
		}
		if len(in) == mostNamesakes {
			in = append(in, "and more")
			break
		}
		in = append(in, namespace)
	}
	if len(in) == 0 {
		return ""
	}
	slices.Sort(in[:min(len(in), mostNamesakes)])
	return "; one of this name is in " + strings.Join(in, ", ")
}

// unnamedWords says why an existing Service has no name.
func unnamedWords(n *node) string {
	switch e := n.entry; {
	case e.Service.Type == cluster.ExternalName:
		return fmt.Sprintf("the externalName of Service %v is no DNS name", e.Service.Key)
	case e.Service.Headless:
		first, all := n.someEndpoints(func(*cluster.Endpoint) bool { return true })
		text := fmt.Sprintf("headless Service %v has no ready endpoint (%d that are not, in %d endpointslices)", e.Service.Key, all, len(e.Slices))
		for i, ep := range first {
			text += []string{": ", "; "}[min(i, 1)] + endpointWords(ep)
		}
		return text
	}
	return fmt.Sprintf("Service %v has no ClusterIP yet", n.entry.Service.Key)
}

// endpointMissWords says why no endpoint has the label.
func endpointMissWords(n *node) string {
	var ready []string
	for ep := range n.listed() {
		switch {
		case ep.Has(cluster.Repeated) && ep.Hostname == "": // it has the label of an earlier one
		case ep.Has(cluster.Ready):
			ready = append(ready, endpointLabel(ep))
		case endpointLabel(ep) == n.label:
			return fmt.Sprintf("of Service %v, endpoint %s", n.entry.Service.Key, endpointWords(ep))
		}
	}
	return fmt.Sprintf("no endpoint of Service %v is called %q; ready ones: %s", n.entry.Service.Key, n.label, list(ready))
}

// portNames returns the ports that have names in DNS, in the form of a query.
func portNames(e *cluster.Entry) (names []string) {
	seen := map[string]bool{}
	add := func(name string, p cluster.Protocol) {
		if text := "_" + name + "._" + p.String(); name != "" && !seen[text] {
			seen[text] = true
			names = append(names, text)
		}
	}
	if serviceKind(e) == clusterIP {
		for _, p := range e.Service.Ports {
			add(p.Name, p.Protocol)
		}
		return names
	}
	for ep, ports := range e.Endpoints() {
		for _, p := range ports {
			if ep.Has(cluster.Ready) {
				add(p.Name, p.Protocol)
			}
		}
	}
	return names
}
