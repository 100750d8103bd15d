package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const tenantNamespace = "evil"

// sizes bound how large a tenant's objects are.
type sizes struct {
	services  int // of one fault
	ports     int // of a Service
	endpoints int // of a slice
	slices    int // of the Service that is large
	text      int // bytes of annotations
}

// A sink takes objects: an API, or a store.
type sink interface {
	Put(...runtime.Object)
	Delete(...runtime.Object)
}

// A tenant writes whatever an API server accepts in one namespace. What the API server allocates, and gives to one Service
// only (cluster IPs and NodePorts), is the tenant's own. Everything else may be others'.
type tenant struct {
	dice
	town
	sizes
	to      sink
	objects map[string]runtime.Object
	said    []string // what was done, for a failure
	next    int      // of what the API server allocates
}

func newTenant(d dice, w town, s sizes, to sink) *tenant {
	return &tenant{dice: d, town: w, sizes: s, to: to, objects: map[string]runtime.Object{}}
}

func key(o runtime.Object) string {
	m := o.(metav1.Object)
	return fmt.Sprintf("%T %s", o, m.GetName())
}

func (n *tenant) put(objects ...runtime.Object) {
	for _, o := range objects {
		n.objects[key(o)] = o
	}
	n.to.Put(objects...)
}

// step changes something.
func (n *tenant) step() {
	switch k := n.IntN(10); {
	case k < 4:
		s := n.service()
		n.say("Service %s %s", s.Name, s.Spec.Type)
		n.put(s)
	case k < 7:
		s := n.slice()
		n.say("slice %s", s.Name)
		n.put(s)
	case k < 9 && len(n.objects) > 0:
		o := n.objects[pick(n.dice, slices.Sorted(maps.Keys(n.objects))...)]
		n.say("delete %s", key(o))
		delete(n.objects, key(o))
		n.to.Delete(o)
	default:
		n.fault(pick(n.dice, faults...))
	}
}

func (n *tenant) say(format string, args ...any) {
	n.said = append(n.said, fmt.Sprintf(format, args...))
}

// story is what was done.
func (n *tenant) story() string { return strings.Join(n.said, "\n") }

// clear removes everything.
func (n *tenant) clear() {
	n.say("clear")
	for _, o := range n.objects {
		n.to.Delete(o)
	}
	n.objects = map[string]runtime.Object{}
}

// names are few, so that objects are replaced, and as long as the API takes them.
func (n *tenant) name() string {
	return pick(n.dice, "a", "b", "web", "kube-dns", "kubernetes", strings.Repeat("x", 63))
}

// created is any age of the tenant's.
func (n *tenant) created() int64 { return int64(n.between(tenantOldest, tenantYoungest)) }

// clusterIP is one that the API server gives to no one else.
func (n *tenant) clusterIP() string {
	n.next++
	return fmt.Sprintf("10.96.%d.%d", 128+n.next/250%120, 1+n.next%250)
}

func (n *tenant) nodePort() int32 {
	n.next++
	return int32(31000 + n.next%1700)
}

// service is a Service of any type.
func (n *tenant) service() *corev1.Service {
	s := victim(tenantNamespace, n.name(), n.clusterIP(), n.created(), n.ports()...)
	s.Annotations = n.annotations()
	s.Labels = map[string]string{strings.Repeat("l", 63): strings.Repeat("v", 63)}
	switch s.Spec.Type = pick(n.dice, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName); s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		s.Spec = corev1.ServiceSpec{Type: s.Spec.Type, ExternalName: pick(n.dice, "web.bank.svc.cluster.local", "www.example.net", strings.Repeat(strings.Repeat("n", 62)+".", 4)[:252]), ExternalIPs: n.externalIPs()}
		return s
	case corev1.ServiceTypeClusterIP:
		if n.chance(30) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"}
		}
	default:
		n.expose(s)
	}
	s.Spec.ExternalIPs = n.externalIPs()
	s.Spec.PublishNotReadyAddresses = n.chance(20)
	if n.chance(30) {
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	}
	if n.chance(40) {
		affine(s, n.timeout())
	}
	return s
}

// expose adds what is of Services that are reached from outside.
func (n *tenant) expose(s *corev1.Service) {
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = n.nodePort()
	}
	if n.chance(50) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		s.Spec.HealthCheckNodePort = n.nodePort()
	}
	for range n.IntN(4) {
		s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges,
			pick(n.dice, "0.0.0.0/0", "10.0.0.0/8", " 192.0.2.0/24 ", "::/0", "255.255.255.255/32", fmt.Sprintf("%d.%d.0.0/%d", n.IntN(256), n.IntN(256), n.IntN(17))))
	}
	for range n.IntN(4) {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, n.ingress())
	}
}

func (n *tenant) ingress() corev1.LoadBalancerIngress {
	i := corev1.LoadBalancerIngress{IP: pick(n.dice, n.anyAddress(), "127.0.0.1", "169.254.169.254", "224.0.0.1", "::1", "fe80::1", "ff02::1")}
	if i.IP == externalIP {
		i.IP = balancerIP // a load balancer's address goes before an external one: that is the order, and no harm
	}
	if n.chance(20) {
		i.IPMode = ptr.To(corev1.LoadBalancerIPModeProxy)
	}
	if n.chance(20) {
		i.IP, i.Hostname = "", "lb.example.net"
	}
	return i
}

func affine(s *corev1.Service, timeout int) {
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(int32(timeout))}}
}

func (n *tenant) timeout() int { return pick(n.dice, 1, 60, 10800, 86400, n.between(1, 86400)) }

// ports are any, of different names and numbers.
func (n *tenant) ports() []corev1.ServicePort {
	var ports []corev1.ServicePort
	for i := range n.IntN(n.sizes.ports + 1) {
		p := corev1.ServicePort{
			Name: fmt.Sprintf("p%d", i), Port: int32(pick(n.dice, 80, 53, 443, 65535, 1, 22, kubeletPort, apiPort, n.between(1, 65535))),
			Protocol: pick(n.dice, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
		}
		if i == 0 {
			p.Name = pick(n.dice, "http", "dns", strings.Repeat("p", 63))
		}
		if !slices.ContainsFunc(ports, func(o corev1.ServicePort) bool { return o.Port == p.Port && o.Protocol == p.Protocol }) {
			ports = append(ports, p)
		}
	}
	return ports
}

// anyAddress is one that may be someone's.
func (n *tenant) anyAddress() string {
	return pick(n.dice, apiVIP, dnsVIP, webVIP, balancedVIP, stickyVIP, youngVIP, balancerIP, externalIP,
		n.node.String(), n.pods[0].String(), "10.96.0.99", "10.96.200.1", "203.0.113.99", "8.8.8.8", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"2001:db8::1", "fd00:10:96::1", fmt.Sprintf("198.51.100.%d", n.IntN(256)))
}

func (n *tenant) externalIPs() (ips []string) {
	for range n.IntN(6) {
		ips = append(ips, n.anyAddress())
	}
	return ips
}

// annotations have keys and values of any text.
func (n *tenant) annotations() map[string]string {
	if n.chance(60) {
		return nil
	}
	value := pick(n.dice, "rr", "", evilText, strings.Repeat("s", 16), strings.Repeat("s", n.text), strings.Repeat("\n", n.text))
	return map[string]string{
		pick(n.dice, "signpost.dev/scheduler", "service.kubernetes.io/topology-mode", "example.net/note"): value,
	}
}

// evilText is lines of its own where it is printed as it is.
const evilText = "rr\n-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 6.6.6.6:443 -m\u001b[31m\x00"

// slice is an EndpointSlice of one of the names, its own or another's.
func (n *tenant) slice() *discoveryv1.EndpointSlice {
	s := slice(tenantNamespace, n.name(), "http", podPort)
	s.Name = pick(n.dice, s.Name, s.Labels[discoveryv1.LabelServiceName]+"-2", strings.Repeat(strings.Repeat("e", 60)+".", 4)+"e")
	s.AddressType = pick(n.dice, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	s.Ports = nil
	for i := range n.IntN(4) {
		p := discoveryv1.EndpointPort{Name: ptr.To(fmt.Sprintf("p%d", i)), Protocol: ptr.To(pick(n.dice, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP))}
		if i == 0 {
			p.Name = ptr.To(pick(n.dice, "", "http", "dns", strings.Repeat("p", 63)))
		}
		if n.chance(80) {
			p.Port = ptr.To(int32(pick(n.dice, 8080, 1, 65535, n.between(1, 65535))))
		}
		s.Ports = append(s.Ports, p)
	}
	for range n.IntN(n.sizes.endpoints + 1) {
		s.Endpoints = append(s.Endpoints, n.endpoint(s.AddressType))
	}
	return s
}

// endpoint has any addresses, which may be those of others' pods and Services, and repeat.
func (n *tenant) endpoint(family discoveryv1.AddressType) discoveryv1.Endpoint {
	var e discoveryv1.Endpoint
	for range n.between(1, pick(n.dice, 1, 1, 1, 3, 100)) {
		switch family {
		case discoveryv1.AddressTypeIPv4:
			e.Addresses = append(e.Addresses, pick(n.dice, n.pods[n.IntN(len(n.pods))].String(), n.node.String(), webVIP, "239.1.1.1", "255.255.255.255",
				fmt.Sprintf("10.244.1.%d", n.IntN(256)), fmt.Sprintf("100.64.%d.%d", n.IntN(256), n.IntN(256))))
		case discoveryv1.AddressTypeIPv6:
			e.Addresses = append(e.Addresses, pick(n.dice, "fd00:10:244::2", "2001:db8::1", fmt.Sprintf("fd00::%x", n.IntN(65536))))
		default:
			e.Addresses = append(e.Addresses, "pod.example.net")
		}
	}
	flag := func() *bool { return pick(n.dice, nil, ptr.To(true), ptr.To(true), ptr.To(false)) }
	e.Conditions = discoveryv1.EndpointConditions{Ready: flag(), Serving: flag(), Terminating: flag()}
	if n.chance(50) {
		e.NodeName = ptr.To(pick(n.dice, nodeName, "node-2", strings.Repeat("n", 63)))
	}
	if n.chance(30) {
		e.Hostname = ptr.To(pick(n.dice, "pod-0", "pod-1", strings.Repeat("h", 63)))
	}
	if n.chance(30) {
		e.Zone = ptr.To(pick(n.dice, "zone-1", strings.Repeat("z", 63)))
	}
	if n.chance(30) {
		e.Hints = &discoveryv1.EndpointHints{}
		for range n.IntN(9) {
			e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: pick(n.dice, "zone-1", "zone-2", "a,b")})
			e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: pick(n.dice, nodeName, "node-2")})
		}
	}
	if n.chance(50) {
		name := fmt.Sprintf("pod-%d", n.IntN(3))
		e.TargetRef = &corev1.ObjectReference{Kind: pick(n.dice, "Pod", "Node", "VirtualMachine"), Namespace: pick(n.dice, tenantNamespace, "bank"), Name: name, UID: types.UID(name)}
	}
	return e
}

// A fault is one input that did harm once.
type fault struct {
	id string
	do func(n *tenant)
}

var faults = []fault{
	{"A-F1: timeouts", func(n *tenant) { n.timeouts(func(*corev1.Service) {}) }},
	{"A-F1: timeouts of load balancers", func(n *tenant) {
		n.timeouts(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
			s.Spec.ExternalIPs = []string{"198.51.100.1"}
		})
	}},
	{"A-F4: the addresses of others", func(n *tenant) { n.thief() }},
	{"A-F6: schedulers", func(n *tenant) {
		for i := range n.services {
			s := victim(tenantNamespace, fmt.Sprintf("scheduled-%d", i), n.clusterIP(), n.created(), tcp("http", 80, 0))
			s.Annotations = map[string]string{"signpost.dev/scheduler": fmt.Sprint(i, strings.Repeat("s", n.text/n.services)) + evilText}
			n.put(s)
		}
	}},
	{"A-F7: a large Service", func(n *tenant) { n.large(true) }},
	{"A-F7: a large Service flaps", func(n *tenant) {
		for _, ready := range []bool{false, true, false} {
			n.large(ready)
		}
	}},
	{"A-F10: clients that are remembered for a day", func(n *tenant) {
		s := victim(tenantNamespace, "remembers", n.clusterIP(), n.created(), tcp("http", 80, n.nodePort()))
		s.Spec.Type = corev1.ServiceTypeNodePort
		affine(s, 86400)
		n.put(s, n.served(s, 0))
	}},
	{"A-F11: conflicts that come and go", func(n *tenant) {
		for i := range 10 {
			n.quarrel(i%2 == 0)
		}
	}},
}

func (n *tenant) fault(f fault) {
	n.say("%s", f.id)
	f.do(n)
}

// timeouts makes Services with a timeout of their own each.
func (n *tenant) timeouts(change func(*corev1.Service)) {
	first := n.IntN(80000)
	for i := range n.services {
		s := victim(tenantNamespace, fmt.Sprintf("timeout-%d", i), n.clusterIP(), n.created(), tcp("http", 80, 0))
		affine(s, first+i+1)
		change(s)
		n.put(s, n.served(s, 0))
	}
}

// thief is an old Service that asks for every address of others.
func (n *tenant) thief() {
	s := victim(tenantNamespace, "thief", n.clusterIP(), tenantOldest, tcp("http", 80, 0), tcp("https", 443, 0), tcp("dns-tcp", 53, 0), tcp("kubelet", kubeletPort, 0),
		tcp("api", apiPort, 0), tcp("healthz", 10256, 0), tcp("metrics", 10249, 0), tcp("ssh", 22, 0), corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP})
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	all := []string{apiVIP, dnsVIP, webVIP, balancedVIP, stickyVIP, youngVIP, n.node.String(), "10.96.0.99", "239.1.1.1", "255.255.255.255"}
	s.Spec.ExternalIPs = append([]string{balancerIP, externalIP}, all...)
	for _, ip := range append(all, balancerIP, "127.0.0.1", "127.0.0.53", "169.254.169.254", "224.0.0.1", "::1", "fe80::1", "ff02::1") {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	n.put(s, n.served(s, len(n.pods)-1))
}

// large puts a Service with many ports and endpoints, or makes its endpoints unready.
func (n *tenant) large(ready bool) {
	var ports []corev1.ServicePort
	for i := range n.sizes.ports {
		ports = append(ports, tcp(fmt.Sprintf("p%d", i), int32(1+i), 0))
	}
	s := victim(tenantNamespace, "large", "10.96.127.1", n.created(), ports...)
	n.put(s)
	for i := range n.sizes.slices {
		e := n.served(s)
		e.Name = fmt.Sprintf("large-%d", i)
		for j := range 1000 {
			a := i*1000 + j
			e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("100.%d.%d.%d", 64+a>>16, a>>8&255, a&255)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			})
		}
		n.put(e)
	}
}

// quarrel puts two Services that claim the same many frontends, or one that claims none.
func (n *tenant) quarrel(both bool) {
	for i, name := range []string{"quarrel-1", "quarrel-2"} {
		var ports []corev1.ServicePort
		for p := range n.sizes.ports {
			ports = append(ports, tcp(fmt.Sprintf("p%d", p), int32(1000+p), 0))
		}
		s := victim(tenantNamespace, name, fmt.Sprintf("10.96.126.%d", 1+i), tenantOldest, ports...)
		if i == 0 || both {
			for a := range 40 {
				s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, fmt.Sprintf("198.51.100.%d", 100+a))
			}
		}
		s.CreationTimestamp = metav1.NewTime(time.Unix(int64(tenantOldest+i), 0))
		n.put(s)
	}
}
