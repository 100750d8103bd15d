package cluster

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key reads namespace/name, or a name alone for what has no namespace.
func key(s string) Key {
	namespace, name, found := strings.Cut(s, "/")
	if !found {
		return Key{Name: s}
	}
	return Key{namespace, name}
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// service is a Service of one port; without addresses it is headless.
func service(k string, clusterIPs ...string) *Service {
	return &Service{
		Key:        key(k),
		Headless:   len(clusterIPs) == 0,
		ClusterIPs: addrs(clusterIPs...),
		Ports:      []ServicePort{{Name: "http", Number: 80, Protocol: TCP}},
	}
}

// slice is an EndpointSlice of Service svc, in its namespace. The ports are
// numbers under the names p<number>, and the endpoints are as in endpoints.
func slice(name, svc string, version uint64, ports []uint16, list ...string) *Slice {
	var named []Port
	for _, n := range ports {
		named = append(named, Port{Name: "p" + strconv.Itoa(int(n)), Number: n, Protocol: TCP})
	}
	service := key(svc)
	return NewSlice(Key{service.Namespace, name}, service, version, named, endpoints(list...))
}

// endpoints reads `ADDRESS[=HOSTNAME][#POD]`, ready and serving; with a final `-` it is
// not, with a final `~` it terminates and serves no more.
func endpoints(list ...string) []Endpoint {
	var out []Endpoint
	for _, s := range list {
		ep := Endpoint{Conditions: Ready | Serving}
		if rest, unready := strings.CutSuffix(s, "-"); unready {
			s, ep.Conditions = rest, 0
		}
		if rest, terminating := strings.CutSuffix(s, "~"); terminating {
			s, ep.Conditions = rest, Terminating
		}
		s, pod, named := strings.Cut(s, "#")
		if named {
			ep.Pod = MakePodID(pod)
		}
		s, ep.Hostname, _ = strings.Cut(s, "=")
		ep.Addr = netip.MustParseAddr(s)
		out = append(out, ep)
	}
	return out
}

// show writes endpoints the way endpoints reads them, without their pods, with `*` after a
// Repeated one, `^` after a Superseded one and the ports of its slice behind it.
func show(e *Entry) []string {
	var out []string
	for ep, ports := range e.Endpoints() {
		s := ep.Addr.String()
		if ep.Hostname != "" {
			s += "=" + ep.Hostname
		}
		switch {
		case ep.Has(Superseded):
			s += "^"
		case ep.Has(Terminating):
			s += "~"
		case !ep.Has(Ready):
			s += "-"
		case ep.Has(Repeated):
			s += "*"
		}
		for _, p := range ports {
			s += fmt.Sprintf(":%d", p.Number)
		}
		out = append(out, s)
	}
	return out
}
