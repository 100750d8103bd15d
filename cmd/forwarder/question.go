package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source/kube"
	"github.com/signpost-dns/signpost/internal/vip"
)

// question is the packet that explain describes, as the user names its ends.
type question struct {
	source  netip.Addr  // not valid: pod is the source
	pod     cluster.Key // whose address is the source
	in      string      // incoming interface
	target  netip.Addr  // not valid: service is the destination
	service cluster.Key // whose cluster IP is the destination
	port    string      // a number, or the name of a port of service
	// protocol is 0 if the user names none: TCP, unless the Service has the port for another protocol only.
	protocol cluster.Protocol
}

// asked parses a question.
func asked(from, to string) (q question, err error) {
	name, in, _ := strings.Cut(from, "@")
	q.in = in
	if pod, is := strings.CutPrefix(name, "pod/"); is {
		namespace, pod, both := strings.Cut(pod, "/")
		if !both {
			namespace, pod = "default", namespace
		}
		q.pod = cluster.Key{Namespace: namespace, Name: pod}
	} else if q.source, err = netip.ParseAddr(name); err != nil {
		return q, fmt.Errorf("source: got %q, want an address, pod/NAME or pod/NAMESPACE/NAME", name)
	}
	to, protocol, named := strings.Cut(to, "/")
	for _, p := range []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP} {
		if named && strings.EqualFold(protocol, p.String()) {
			q.protocol = p
		}
	}
	if named && q.protocol == 0 {
		return q, fmt.Errorf("protocol: got %q, want tcp, udp or sctp", protocol)
	}
	if a, err := netip.ParseAddrPort(to); err == nil {
		q.target, q.port = a.Addr(), strconv.Itoa(int(a.Port()))
		if q.source.IsValid() && q.source.Is4() != q.target.Is4() {
			return q, fmt.Errorf("%v and %v are of two IP families", q.source, q.target)
		}
		return q, nil
	}
	i := strings.LastIndexByte(to, ':')
	labels := strings.Split(strings.TrimSuffix(to[:max(i, 0)], "."), ".")
	_, badAddr := netip.ParseAddr(to)
	if i < 1 || i == len(to)-1 || badAddr == nil || len(labels) > 2 && labels[2] != "svc" || slices.Contains(labels, "") {
		return q, fmt.Errorf("destination: got %q, want an address or a Service with a port, such as 10.96.0.1:443, [fd00::1]:443 or web.default:80", to)
	}
	q.service = cluster.Key{Namespace: "default", Name: labels[0]}
	if len(labels) > 1 {
		q.service.Namespace = labels[1]
	}
	q.port = to[i+1:]
	return q, nil
}

// packet looks up the addresses of a question. The lines describe what it found.
func (q question) packet(ctx context.Context, v *view) (p vip.Packet, lines []string, err error) {
	sources := []netip.Addr{q.source}
	if !q.source.IsValid() {
		if sources, err = v.addressesOf(ctx, q.pod); err != nil {
			return p, nil, err
		}
		lines = append(lines, fmt.Sprintf("pod %v has %s\n", q.pod, texts(sources)))
	}
	targets := []netip.Addr{q.target}
	var ports []cluster.ServicePort
	if !q.target.IsValid() {
		e := v.store.Service(q.service.Namespace, q.service.Name)
		if e == nil {
			return p, nil, fmt.Errorf("no Service %v that this proxy routes%s", q.service, v.namesakes(q.service.Name))
		}
		if targets, ports = e.Service.ClusterIPs, e.Service.Ports; len(targets) == 0 {
			return p, nil, fmt.Errorf("the Service %v has no cluster IP, so no packet to it is translated: its name resolves to its endpoints or to another name", q.service)
		}
		lines = append(lines, fmt.Sprintf("Service %v has %s\n", q.service, texts(targets)))
	}
	number, protocol, err := portOf(q, ports)
	if err != nil {
		return p, nil, err
	}
	for _, to := range targets {
		for _, from := range sources {
			if from.Is4() == to.Is4() {
				return vip.Packet{Source: from, In: q.in, Destination: netip.AddrPortFrom(to, number), Protocol: protocol}, lines, nil
			}
		}
	}
	return p, nil, fmt.Errorf("%s and %s are of two IP families", texts(sources), texts(targets))
}

// portOf returns the port and protocol of a question. ports are those of its Service, if it names one.
func portOf(q question, ports []cluster.ServicePort) (uint16, cluster.Protocol, error) {
	number, err := strconv.ParseUint(q.port, 10, 16)
	fits := func(p cluster.ServicePort) bool {
		return (err == nil && uint64(p.Number) == number || err != nil && p.Name == q.port) && (q.protocol == 0 || p.Protocol == q.protocol)
	}
	i := slices.IndexFunc(ports, func(p cluster.ServicePort) bool { return fits(p) && p.Protocol == cluster.TCP })
	if i < 0 {
		i = slices.IndexFunc(ports, fits)
	}
	switch {
	case i >= 0:
		return ports[i].Number, ports[i].Protocol, nil
	case err == nil && q.protocol == 0:
		return uint16(number), cluster.TCP, nil
	case err == nil:
		return uint16(number), q.protocol, nil
	case len(ports) == 0:
		return 0, 0, fmt.Errorf("port: got %q, want a number from 0 to 65535", q.port)
	}
	var have []string
	for _, p := range ports {
		have = append(have, strings.TrimPrefix(fmt.Sprintf("%s:%d/%v", p.Name, p.Number, p.Protocol), ":"))
	}
	return 0, 0, fmt.Errorf("port: got %q, want one of the Service %v, which has %s", q.port, q.service, strings.Join(have, ", "))
}

// addressesOf looks up a pod in the manifests or the API.
func (v *view) addressesOf(ctx context.Context, pod cluster.Key) ([]netip.Addr, error) {
	for p := range v.store.Pods() {
		if p.Key == pod {
			return p.Addrs, nil
		}
	}
	if v.config.Flags.Manifests != "" {
		return nil, fmt.Errorf("no pod %v with an address in the manifests: want its address instead", pod)
	}
	rc, err := connection(v.config)
	if err != nil {
		return nil, err
	}
	p, err := kube.Pod(ctx, rc, pod)
	if err != nil {
		return nil, fmt.Errorf("%w (use the address of the pod if its name cannot be looked up)", err)
	}
	return p.Addrs, nil
}

// nodeAt returns the Node with an address, from the manifests or the API; nil: unknown.
func (v *view) nodeAt(ctx context.Context, a netip.Addr) *cluster.Node {
	for n := range v.store.Nodes() {
		if slices.Contains(n.Addrs, a) {
			return n
		}
	}
	if v.config.Flags.Manifests != "" {
		return nil
	}
	rc, err := connection(v.config)
	if err != nil {
		return nil
	}
	n, err := kube.NodeAt(ctx, rc, a)
	if err != nil {
		v.log.Warn("finding the node with an address failed", "address", a.String(), "err", err)
	}
	return n
}

// namesakes lists the namespaces that have a Service of this name.
func (v *view) namesakes(name string) string {
	var in []string
	for e := range v.store.Services() {
		if e.Service.Name == name {
			in = append(in, e.Service.Namespace)
		}
	}
	if len(in) == 0 {
		return ""
	}
	slices.Sort(in)
	return fmt.Sprintf("; one of this name is in %s", strings.Join(in, ", "))
}

func texts(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
