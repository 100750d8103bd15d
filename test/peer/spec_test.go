package peer

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// spec is the slow, obvious twin: it writes the whole zone down, record by record,
// as the Kubernetes DNS specification 1.1.0 says, and looks names up in it as a
// name server does with a zone file (RFC 1034 §4.3.2). It shares no code with the
// plugin and takes the API's own objects.
type spec struct {
	setup
	names map[string]map[string][]string // lower-case name → type → data; an inner node has no types
	along map[string][]glue              // what goes along with the SRV records of a name
}

// glue is an address at which the port of an SRV record is served: of several
// endpoints with one hostname only those that have the port.
type glue struct {
	target string
	addr   netip.Addr
}

const (
	zone = "cluster.local."
	soa  = " 7200 1800 86400 "
)

func newSpec(s setup, objects map[string]runtime.Object) *spec {
	z := &spec{setup: s, names: map[string]map[string][]string{}, along: map[string][]glue{}}
	for _, apex := range []string{zone, "in-addr.arpa.", "ip6.arpa."} {
		z.names[apex] = map[string][]string{}
		z.add(apex, "SOA", fmt.Sprintf("ns.dns.%s hostmaster.%[1]s 0%s%d", zone, soa, s.ttl))
		z.add(apex, "NS", "ns.dns."+zone)
	}
	z.exists("svc."+zone, "pod."+zone, "ns.dns."+zone)
	z.add("dns-version."+zone, "TXT", `"1.1.0"`)
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			z.exists(o.Name+".svc."+zone, o.Name+".pod."+zone)
		case *corev1.Service:
			z.service(o, slicesOf(o, objects))
		}
	}
	if s.pods == "verified" {
		for _, o := range objects {
			if p, ok := o.(*corev1.Pod); ok {
				for _, ip := range p.Status.PodIPs {
					z.pod(p.Namespace, netip.MustParseAddr(ip.IP))
				}
			}
		}
	}
	return z
}

func slicesOf(s *corev1.Service, objects map[string]runtime.Object) []*discoveryv1.EndpointSlice {
	var list []*discoveryv1.EndpointSlice
	for _, o := range objects {
		sl, ok := o.(*discoveryv1.EndpointSlice)
		if ok && sl.Namespace == s.Namespace && sl.Labels[discoveryv1.LabelServiceName] == s.Name && sl.AddressType != discoveryv1.AddressTypeFQDN {
			list = append(list, sl)
		}
	}
	return list
}

// exists adds names with all that is above them (RFC 4592 §2.2.2).
func (z *spec) exists(names ...string) {
	for _, name := range names {
		for z.names[name] == nil {
			z.names[name] = map[string][]string{}
			_, name, _ = strings.Cut(name, ".")
		}
	}
}

// add adds one record; a set holds each data once (RFC 2181 §5).
func (z *spec) add(name, rrtype, data string) {
	z.exists(name)
	if set := z.names[name][rrtype]; !slices.Contains(set, data) {
		z.names[name][rrtype] = append(set, data)
	}
}

func (z *spec) address(name string, a netip.Addr) {
	if a.Is4() {
		z.add(name, "A", a.String())
	} else {
		z.add(name, "AAAA", a.String())
	}
}

func (z *spec) pointer(a netip.Addr, target string) {
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		panic(err)
	}
	z.add(name, "PTR", target)
}

// dashed is the label of an address; no host name ends in a dash (RFC 952).
func dashed(a netip.Addr) string {
	label := strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}

func (z *spec) pod(namespace string, a netip.Addr) {
	z.address(dashed(a)+"."+namespace+".pod."+zone, a)
}

// service is §2.3 and §2.4 of the specification, with what clients rely on beyond
// it: SRV at a Service's and at an endpoint's own name, and names for the
// endpoints of a Service with a ClusterIP.
func (z *spec) service(s *corev1.Service, list []*discoveryv1.EndpointSlice) {
	name := s.Name + "." + s.Namespace + ".svc." + zone
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if _, err := netip.ParseAddr(s.Spec.ExternalName); err != nil {
			z.add(name, "CNAME", dns.Fqdn(strings.ToLower(s.Spec.ExternalName)))
		}
		return
	}
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	if !headless {
		for _, ip := range s.Spec.ClusterIPs {
			a := netip.MustParseAddr(ip)
			z.address(name, a)
			z.pointer(a, name)
		}
		for _, p := range s.Spec.Ports {
			for _, ip := range s.Spec.ClusterIPs {
				z.srv(name, p.Name, string(p.Protocol), p.Port, glue{name, netip.MustParseAddr(ip)})
			}
		}
	}
	for _, sl := range list {
		for i := range sl.Endpoints {
			e := &sl.Endpoints[i]
			if e.Conditions.Ready != nil && !*e.Conditions.Ready || moved(sl, e, list) {
				continue
			}
			for _, ip := range e.Addresses {
				z.endpoint(name, headless, sl.Ports, e, netip.MustParseAddr(ip))
			}
		}
	}
}

// endpoint adds the names of a ready endpoint, for one of its addresses.
func (z *spec) endpoint(service string, headless bool, ports []discoveryv1.EndpointPort, e *discoveryv1.Endpoint, a netip.Addr) {
	own := z.label(e, a) + "." + service
	z.address(own, a)
	z.pointer(a, own)
	if headless {
		z.address(service, a)
	}
	for _, p := range ports {
		z.srv(own, "", "", *p.Port, glue{own, a})
		if headless {
			z.srv(service, *p.Name, string(*p.Protocol), *p.Port, glue{own, a})
		}
	}
}

// moved reports whether a newer slice with the same ports lists the pod of an endpoint:
// that one knows its state.
func moved(sl *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, list []*discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(list, func(o *discoveryv1.EndpointSlice) bool {
		return o.Generation > sl.Generation && reflect.DeepEqual(o.Ports, sl.Ports) && slices.ContainsFunc(o.Endpoints, func(n discoveryv1.Endpoint) bool {
			return e.TargetRef != nil && reflect.DeepEqual(n.TargetRef, e.TargetRef) && slices.Equal(n.Addresses, e.Addresses)
		})
	})
}

// srv adds a port at a Service's or endpoint's own name and, if it has a name, at
// that. Weights are left to the server, so they are 0 here.
func (z *spec) srv(owner, port, protocol string, number int32, at glue) {
	names := []string{owner}
	if port != "" {
		names = append(names, "_"+port+"._"+strings.ToLower(protocol)+"."+owner)
	}
	for _, name := range names {
		z.add(name, "SRV", fmt.Sprintf("0 0 %d %s", number, at.target))
		z.along[name] = append(z.along[name], at)
	}
}

// label is an endpoint's below its Service: hostname, pod name by option, address.
func (z *spec) label(e *discoveryv1.Endpoint, a netip.Addr) string {
	switch {
	case e.Hostname != nil && *e.Hostname != "":
		return *e.Hostname
	case z.podNames && e.TargetRef != nil && !strings.Contains(e.TargetRef.Name, "."):
		return e.TargetRef.Name
	}
	return dashed(a)
}

// lookup answers a question from the written zone.
func (z *spec) lookup(name, qtype string) reply { return z.chase(name, qtype, nil) }

func (z *spec) chase(owner, qtype string, before []string) reply {
	name := strings.ToLower(owner)
	if strings.HasSuffix(name, ".example.net.") || name == "example.net." {
		return outside(owner, name, qtype)
	}
	sets, found := z.find(name)
	r := reply{rcode: "NOERROR", aa: true}
	switch {
	case !inZone(name):
		return reply{rcode: "REFUSED"}
	case !found:
		r.rcode, r.soa = "NXDOMAIN", true
		return r
	}
	if target := sets["CNAME"]; target != nil {
		r.answer = z.records(owner, "CNAME", target)
		if qtype == "CNAME" || qtype == "ANY" {
			return r
		}
		before = append(before, name)
		if slices.Contains(before, target[0]) {
			r.rcode, r.aa = "SERVFAIL", false
			return r
		}
		end := z.chase(target[0], qtype, before)
		if end.rcode == "REFUSED" {
			return r // nobody here knows: the client goes on
		}
		r.answer, r.rcode, r.soa, r.aa = append(r.answer, end.answer...), end.rcode, end.soa, end.rcode != "SERVFAIL"
		slices.Sort(r.answer)
		return r
	}
	if qtype == "ANY" {
		for _, t := range []string{"A", "AAAA", "SRV", "PTR", "SOA", "TXT"} {
			if sets[t] != nil {
				qtype = t
				break
			}
		}
	}
	r.answer = z.records(owner, qtype, sets[qtype])
	r.soa = len(r.answer) == 0
	if qtype == "SRV" {
		r.extra = z.glue(name)
	}
	return r
}

// find looks a name up; with `pods insecure` every address below a namespace's
// pod name exists.
func (z *spec) find(name string) (map[string][]string, bool) {
	if sets, ok := z.names[name]; ok {
		return sets, true
	}
	label, rest, _ := strings.Cut(name, ".")
	namespace, isPod := strings.CutSuffix(rest, ".pod."+zone)
	if z.pods != "insecure" || !isPod || z.names[rest] == nil || strings.Contains(namespace, ".") {
		return nil, false
	}
	text := strings.ReplaceAll(label, "-", ":")
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		text = strings.ReplaceAll(label, "-", ".")
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return nil, false
	}
	rrtype := "AAAA"
	if a.Is4() {
		rrtype = "A"
	}
	return map[string][]string{rrtype: {a.String()}}, true
}

func (z *spec) records(owner, rrtype string, data []string) []string {
	ttl := z.ttl
	if rrtype == "TXT" {
		ttl = 28800
	}
	var list []string
	for _, d := range data {
		list = append(list, fmt.Sprintf("%s %d in %s %s", owner, ttl, strings.ToLower(rrtype), d))
	}
	slices.Sort(list)
	return list
}

// glue is what a client would ask for next.
func (z *spec) glue(name string) []string {
	var list []string
	for _, g := range z.along[name] {
		rrtype := "AAAA"
		if g.addr.Is4() {
			rrtype = "A"
		}
		list = append(list, z.records(g.target, rrtype, []string{g.addr.String()})...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func inZone(name string) bool {
	for _, apex := range []string{zone, "in-addr.arpa.", "ip6.arpa."} {
		if name == apex || strings.HasSuffix(name, "."+apex) {
			return true
		}
	}
	return false
}

// upstream is a zone file for the names outside the cluster.
const upstream = `$ORIGIN example.net.
@ 3600 IN SOA ns hostmaster 1 7200 3600 1209600 3600
@ 3600 IN NS ns
ns 3600 IN A 192.0.2.53
www 3600 IN A 192.0.2.80
alias 3600 IN CNAME www
`

// outside is what that zone says.
func outside(owner, name, qtype string) reply {
	const www = "192.0.2.80"
	r := reply{rcode: "NOERROR", aa: true}
	switch {
	case name == "alias.example.net.":
		r.answer = []string{owner + " 3600 in cname www.example.net."}
		if qtype == "A" {
			r.answer = append(r.answer, "www.example.net. 3600 in a "+www)
		}
		r.soa = qtype == "NS" // the plugin file: the zone's own records go along, for others nothing does
	case name != "www.example.net.":
		r.rcode, r.soa = "NXDOMAIN", true
	case qtype == "A":
		r.answer = []string{owner + " 3600 in a " + www}
	default:
		r.soa = true
	}
	return r
}

var _ metav1.Object = &corev1.Service{}
