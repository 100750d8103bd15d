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

// question is the packet that explain is asked about, as the user names its ends.
type question struct {
	source  netip.Addr  // not valid: pod is the source
	pod     cluster.Key // whose address is to be looked up
	in      string      // the interface that it comes in by
	target  netip.Addr  // not valid: service is the destination
	service cluster.Key // whose cluster IP is to be looked up
	port    string      // a number, or the name of a port of service
	// protocol is 0 if the user gives none: TCP, unless the Service has the port for another one only.
	protocol cluster.Protocol
}

// asked reads a question.
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
		return q, fmt.Errorf("source %q: expected an address, pod/NAME or pod/NAMESPACE/NAME", name)
	}
	to, protocol, named := strings.Cut(to, "/")
	for _, p := range []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP} {
		if named && strings.EqualFold(protocol, p.String()) {
			q.protocol = p
		}
	}
	if named && q.protocol == 0 {
		return q, fmt.Errorf("protocol %q: expected tcp, udp or sctp", protocol)
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
		return q, fmt.Errorf("destination %q: expected an address or a Service with a port, such as 10.96.0.1:443, [fd00::1]:443 or web.default:80", to)
	}
	q.service = cluster.Key{Namespace: "default", Name: labels[0]}
	if len(labels) > 1 {
		q.service.Namespace = labels[1]
	}
	q.port = to[i+1:]
	return q, nil
}

// packet looks up what the question names. The lines say what that is.
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
			return p, nil, fmt.Errorf("there is no Service %v that this proxy routes%s", q.service, v.namesakes(q.service.Name))
		}
		if targets, ports = e.Service.ClusterIPs, e.Service.Ports; len(targets) == 0 {
			return p, nil, fmt.Errorf("the Service %v has no cluster IP, so that no packet to it is translated: its name leads to its endpoints or to another name", q.service)
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

// portOf is the port and the protocol of a question. The ports are those of its Service, if it names one.
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
		return 0, 0, fmt.Errorf("port %q: expected a number from 0 to 65535", q.port)
	}
	var have []string
	for _, p := range ports {
		have = append(have, strings.TrimPrefix(fmt.Sprintf("%s:%d/%v", p.Name, p.Number, p.Protocol), ":"))
	}
	return 0, 0, fmt.Errorf("port %q: expected one of the Service %v, which has %s", q.port, q.service, strings.Join(have, ", "))
}

// addressesOf looks a pod up among the manifests, or asks the API for it.
func (v *view) addressesOf(ctx context.Context, pod cluster.Key) ([]netip.Addr, error) {
	for p := range v.store.Pods() {
		if p.Key == pod {
			return p.Addrs, nil
		}
	}
	if v.config.Flags.Manifests != "" {
		return nil, fmt.Errorf("there is no pod %v with an address in the manifests: give its address", pod)
	}
	rc, err := connection(v.config)
	if err != nil {
		return nil, err
	}
	p, err := kube.Pod(ctx, rc, pod)
	if err != nil {
		return nil, fmt.Errorf("%w (give the address of the pod where its name cannot be looked up)", err)
	}
	return p.Addrs, nil
}

// nodeAt returns the Node that has an address, from the manifests or the API; nil: none is known.
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
		v.log.Warn("looking for the node that has the address", "address", a.String(), "error", err)
	}
	return n
}

// namesakes says in which namespaces there is a Service of a name.
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
