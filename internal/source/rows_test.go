package source

var serviceConversions = []conversion{
	{name: "cluster IP", kind: "Service", yaml: `
metadata: {namespace: shop, name: web, resourceVersion: "7", creationTimestamp: "2026-01-02T03:04:05Z"}
spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{name: http, port: 80, targetPort: 8080}]}`,
		want: "shop/web type=0 headless=false ips=[10.0.0.1] ports=[{http 80 0 tcp}] created=1767323045"},
	{name: "dual-stack", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIPs: ["fd00::1", 10.0.0.1], ports: [{port: 80}]}`,
		want: "default/web type=0 headless=false ips=[fd00::1 10.0.0.1] ports=[{ 80 0 tcp}]"},
	{name: "clusterIP alone, as before dual-stack", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: ClusterIP, clusterIP: 10.0.0.1}`,
		want: "default/web type=0 headless=false ips=[10.0.0.1] ports=[]"},
	{name: "headless", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: None, clusterIPs: [None]}`,
		want: "default/web type=0 headless=true ips=[] ports=[]"},
	{name: "headless by clusterIP alone", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: None}`,
		want: "default/web type=0 headless=true ips=[] ports=[]"},
	{name: "nobody allocated an address", kind: "Service", yaml: `
metadata: {name: web}
spec: {ports: [{port: 80}]}`,
		want:     "default/web type=0 headless=false ips=[] ports=[{ 80 0 tcp}]",
		problems: []string{`spec.clusterIP "": ` + wantClusterIP}},
	{name: "none is not None", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: none}`,
		want:     "default/web type=0 headless=false ips=[] ports=[]",
		problems: []string{`spec.clusterIP "none": ` + wantClusterIP}},
	{name: "broken cluster IPs", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIPs: [10.0.0.256, "fd00::1%eth0", 0.0.0.0, "", 10.0.0.1, 10.0.0.2]}`,
		want: "default/web type=0 headless=false ips=[10.0.0.1] ports=[]",
		problems: []string{
			`spec.clusterIPs[0] "10.0.0.256": ` + wantClusterIP,
			`spec.clusterIPs[1] "fd00::1%eth0": ` + wantClusterIP,
			`spec.clusterIPs[2] "0.0.0.0": ` + wantClusterIP,
			`spec.clusterIPs[3] "": ` + wantClusterIP,
			`spec.clusterIPs[5] "10.0.0.2": ` + wantOnePerFamily,
		}},
	{name: "other spellings of addresses", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIPs: ["::ffff:10.0.0.1", "FD00:0:0::0001"]}`,
		want: "default/web type=0 headless=false ips=[10.0.0.1 fd00::1] ports=[]"},
	{name: "leading zeros are decimal", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: "010.000.00.001"}`,
		want: "default/web type=0 headless=false ips=[10.0.0.1] ports=[]"},
	{name: "node port", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.0.0.1, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 65536}, {name: c, port: 82, nodePort: -1}]}`,
		want: "default/web type=1 headless=false ips=[10.0.0.1] ports=[{a 80 30080 tcp} {b 81 0 tcp} {c 82 0 tcp}]",
		problems: []string{
			`spec.ports[1].nodePort "65536": ` + wantNodePort,
			`spec.ports[2].nodePort "-1": ` + wantNodePort,
		}},
	{name: "load balancer", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, externalIPs: [192.0.2.7, "2001:db8::7"]}
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}, {hostname: lb.example.org}, {ip: "::ffff:198.51.100.2"}, {}]}}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[192.0.2.7 2001:db8::7] lb=[198.51.100.1 198.51.100.2] hosts=["lb.example.org"]`},
	{name: "load balancers with names only", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1}
status: {loadBalancer: {ingress: [{hostname: LB-1.elb.example.org.}, {hostname: a..b}]}}`,
		want:     `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] hosts=["LB-1.elb.example.org"]`,
		problems: []string{`status.loadBalancer.ingress[1].hostname "a..b": ` + wantBalancerName}},
	{name: "broken external addresses", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, externalIPs: [x, 127.0.0.1, "::1", 169.254.1.1, "fe80::1", 224.0.0.1, "::"]}
status: {loadBalancer: {ingress: [{ip: z}]}}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[]`,
		problems: []string{
			`spec.externalIPs[0] "x": ` + wantExternalIP,
			`spec.externalIPs[1] "127.0.0.1": ` + wantExternalIP,
			`spec.externalIPs[2] "::1": ` + wantExternalIP,
			`spec.externalIPs[3] "169.254.1.1": ` + wantExternalIP,
			`spec.externalIPs[4] "fe80::1": ` + wantExternalIP,
			`spec.externalIPs[5] "224.0.0.1": ` + wantExternalIP,
			`spec.externalIPs[6] "::": ` + wantExternalIP,
			`status.loadBalancer.ingress[0].ip "z": ` + wantExternalIP,
		}},
	{name: "no external addresses: of a load balancer", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1}
status: {loadBalancer: {ingress: [{ip: 127.0.0.1}, {ip: 169.254.169.254}, {ip: "::ffff:127.0.0.1"}, {ip: 255.255.255.255}, {ip: "ff05::1"}, {ip: 0.0.0.0}, {ip: 198.51.100.7}]}}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[198.51.100.7]`,
		problems: []string{
			`status.loadBalancer.ingress[0].ip "127.0.0.1": ` + wantExternalIP,
			`status.loadBalancer.ingress[1].ip "169.254.169.254": ` + wantExternalIP,
			`status.loadBalancer.ingress[2].ip "::ffff:127.0.0.1": ` + wantExternalIP,
			`status.loadBalancer.ingress[3].ip "255.255.255.255": ` + wantExternalIP,
			`status.loadBalancer.ingress[4].ip "ff05::1": ` + wantExternalIP,
			`status.loadBalancer.ingress[5].ip "0.0.0.0": ` + wantExternalIP,
		}},
	{name: "more problems than a log needs", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, externalIPs: [a, b, c, d, e, f, g, h, i, j]}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[]`,
		problems: []string{
			`spec.externalIPs[0] "a": ` + wantExternalIP, `spec.externalIPs[1] "b": ` + wantExternalIP,
			`spec.externalIPs[2] "c": ` + wantExternalIP, `spec.externalIPs[3] "d": ` + wantExternalIP,
			`spec.externalIPs[4] "e": ` + wantExternalIP, `spec.externalIPs[5] "f": ` + wantExternalIP,
			`spec.externalIPs[6] "g": ` + wantExternalIP, `more fields "3": values that the API documents`,
		}},
	{name: "external name", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: ExternalName, externalName: Db_1.example.org., clusterIP: 10.0.0.1, ports: [{port: 5432}]}`,
		want: `default/web type=3 headless=false ips=[] ports=[{ 5432 0 tcp}] name="Db_1.example.org" external=[] lb=[]`},
	{name: "broken external name", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: ExternalName, externalName: "db..example.org"}`,
		want:     `default/web type=3 headless=false ips=[] ports=[] name="" external=[] lb=[]`,
		problems: []string{`spec.externalName "db..example.org": ` + wantExternalName}},
	{name: "an address for an external name", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: ExternalName, externalName: 192.0.2.1}`,
		want:     `default/web type=3 headless=false ips=[] ports=[] name="" external=[] lb=[]`,
		problems: []string{`spec.externalName "192.0.2.1": ` + wantExternalName}},
	{name: "no external name", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: ExternalName}`,
		want:     `default/web type=3 headless=false ips=[] ports=[] name="" external=[] lb=[]`,
		problems: []string{`spec.externalName "": ` + wantExternalName}},
	{name: "unknown type", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: Anycast, clusterIP: 10.0.0.1}`,
		want:     "default/web type=0 headless=false ips=[10.0.0.1] ports=[]",
		problems: []string{`spec.type "Anycast": ` + wantServiceType}},
	{name: "names that are no labels", kind: "Service", yaml: `
metadata: {name: Web.x, namespace: -a}
spec: {clusterIP: 10.0.0.1}`,
		problems: []string{`metadata.name "Web.x": ` + wantLabel, `metadata.namespace "-a": ` + wantLabel}},
}

var portConversions = []conversion{
	{name: "protocols", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: None, ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53, protocol: TCP}, {name: c, port: 53, protocol: SCTP}, {name: d, port: 53, protocol: udp}]}`,
		want:     "default/web type=0 headless=true ips=[] ports=[{a 53 0 udp} {b 53 0 tcp} {c 53 0 sctp}]",
		problems: []string{`spec.ports[3].protocol "udp": ` + wantProtocol}},
	{name: "numbers", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: None, ports: [{name: a, port: 0}, {name: b, port: 1}, {name: c, port: 65535}, {name: d, port: 65536}, {name: e, port: -1}, {name: f}]}`,
		want: "default/web type=0 headless=true ips=[] ports=[{b 1 0 tcp} {c 65535 0 tcp}]",
		problems: []string{
			`spec.ports[0].port "0": ` + wantPort,
			`spec.ports[3].port "65536": ` + wantPort,
			`spec.ports[4].port "-1": ` + wantPort,
			`spec.ports[5].port "0": ` + wantPort,
		}},
	{name: "names", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: None, ports: [{name: a, port: 1}, {name: A, port: 2}, {name: a, port: 3}, {name: b, port: 1}, {port: 4}, {port: 5}]}`,
		want: "default/web type=0 headless=true ips=[] ports=[{a 1 0 tcp} { 4 0 tcp}]",
		problems: []string{
			`spec.ports[1].name "A": ` + wantPortName,
			`spec.ports[2].name "a": ` + wantOtherPort,
			`spec.ports[3].name "b": ` + wantOtherPort,
			`spec.ports[5].name "": ` + wantOtherPort,
		}},
	{name: "everything wrong at once", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: None, ports: [{name: a_b, port: 70000, protocol: QUIC}]}`,
		want: "default/web type=0 headless=true ips=[] ports=[]",
		problems: []string{
			`spec.ports[0].protocol "QUIC": ` + wantProtocol,
			`spec.ports[0].port "70000": ` + wantPort,
			`spec.ports[0].name "a_b": ` + wantPortName,
		}},
}

const sliceOfWeb = "metadata: {name: web-x, resourceVersion: \"9\", labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n"

var sliceConversions = []conversion{
	{name: "slice", kind: "EndpointSlice", yaml: sliceOfWeb + `
ports: [{name: http, port: 8080, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]
endpoints: [{addresses: [10.1.0.2], nodeName: n1, zone: z1, hostname: web-0, conditions: {ready: true, serving: true, terminating: false}}, {addresses: [10.1.0.1]}]`,
		want: "default/web-x of default/web v9 ports=[{http 8080 tcp} {dns 53 udp}] 10.1.0.1///+R+S 10.1.0.2/web-0/n1/z1+R+S"},
	{name: "a name that does not begin with the Service's", kind: "EndpointSlice", yaml: `
metadata: {name: other, namespace: ns, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: ["FD00:0::1"]}]`,
		want: "ns/other of ns/web v0 ports=[] fd00::1///+R+S"},
	{name: "of nobody", kind: "EndpointSlice", yaml: `
metadata: {name: x}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]`},
	{name: "of host names", kind: "EndpointSlice", yaml: `
metadata: {name: x, labels: {kubernetes.io/service-name: web}}
addressType: FQDN
endpoints: [{addresses: [a.example.org]}]`},
	{name: "unknown address type", kind: "EndpointSlice", yaml: `
metadata: {name: x, labels: {kubernetes.io/service-name: web}}
addressType: IPv5`,
		problems: []string{`addressType "IPv5": ` + wantAddressType}},
	{name: "a label that names no Service", kind: "EndpointSlice", yaml: `
metadata: {name: x, labels: {kubernetes.io/service-name: Web.x}}
addressType: IPv4`,
		problems: []string{`metadata.labels[kubernetes.io/service-name] "Web.x": ` + wantLabel}},
	{name: "nameless", kind: "EndpointSlice", yaml: `
metadata: {generateName: web-, labels: {kubernetes.io/service-name: web}}
addressType: IPv4`,
		problems: []string{`metadata.name "": ` + wantName}},
	{name: "ports that cannot be used", kind: "EndpointSlice", yaml: sliceOfWeb + `
ports: [{name: any}, {port: 80}, {name: a, port: 0}, {name: b, port: 65536}, {name: C, port: 1}, {name: d, port: 2, protocol: ""}, {name: e, port: 3, protocol: ICMP}, {name: d, port: 5}, {name: f, port: 80}]`,
		want: "default/web-x of default/web v9 ports=[{ 80 tcp} {d 2 tcp} {f 80 tcp}]",
		problems: []string{
			`ports[2].port "0": ` + wantPort,
			`ports[3].port "65536": ` + wantPort,
			`ports[4].name "C": ` + wantPortName,
			`ports[6].protocol "ICMP": ` + wantProtocol,
			`ports[7].name "d": ` + wantOtherPort,
		}},
}

var endpointConversions = []conversion{
	{name: "conditions", kind: "EndpointSlice", yaml: sliceOfWeb + `
endpoints:
- {addresses: [10.1.0.1]}
- {addresses: [10.1.0.2], conditions: {}}
- {addresses: [10.1.0.3], conditions: {ready: false}}
- {addresses: [10.1.0.4], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.1.0.5], conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [10.1.0.6], conditions: {ready: true, serving: false}}`,
		want: "default/web-x of default/web v9 ports=[] 10.1.0.1///+R+S 10.1.0.2///+R+S 10.1.0.3///+S 10.1.0.4///+S+T 10.1.0.5///+T 10.1.0.6///+R"},
	{name: "several addresses, and one twice", kind: "EndpointSlice", yaml: sliceOfWeb + `
endpoints: [{addresses: [10.1.0.2, 10.1.0.1], hostname: a}, {addresses: [10.1.0.2], hostname: b}, {addresses: []}]`,
		want: "default/web-x of default/web v9 ports=[] 10.1.0.1/a//+R+S+A 10.1.0.2/a//+R+S 10.1.0.2/b//+R+S+X"},
	{name: "broken addresses", kind: "EndpointSlice", yaml: sliceOfWeb + `
endpoints: [{addresses: [x, "", 10.1.0.1]}, {addresses: ["fd00::1", "::ffff:10.1.0.2", 127.0.0.1, 0.0.0.0]}]`,
		want: "default/web-x of default/web v9 ports=[] 10.1.0.1///+R+S+A 10.1.0.2///+R+S+A",
		problems: []string{
			`endpoints[0].addresses[0] "x": ` + wantIPv4,
			`endpoints[0].addresses[1] "": ` + wantIPv4,
			`endpoints[1].addresses[0] "fd00::1": ` + wantIPv4,
			`endpoints[1].addresses[2] "127.0.0.1": ` + wantPublicIP,
			`endpoints[1].addresses[3] "0.0.0.0": ` + wantIPv4,
		}},
	{name: "the wrong family in IPv6", kind: "EndpointSlice", yaml: `
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: [10.1.0.1, "::ffff:10.1.0.2", "fd00::1%eth0", "fd00::2"]}]`,
		want: "default/web-x of default/web v0 ports=[] fd00::2///+R+S+A",
		problems: []string{
			`endpoints[0].addresses[0] "10.1.0.1": ` + wantIPv6,
			`endpoints[0].addresses[1] "::ffff:10.1.0.2": ` + wantIPv6,
			`endpoints[0].addresses[2] "fd00::1%eth0": ` + wantIPv6,
		}},
	{name: "host names", kind: "EndpointSlice", yaml: sliceOfWeb + `
endpoints: [{addresses: [10.1.0.1], hostname: a.b}, {addresses: [10.1.0.2], hostname: ""}, {addresses: [10.1.0.3], hostname: A}, {addresses: [10.1.0.4], targetRef: {kind: Pod, name: web-0}}]`,
		want: "default/web-x of default/web v9 ports=[] 10.1.0.1///+R+S 10.1.0.2///+R+S 10.1.0.3///+R+S 10.1.0.4///+R+S",
		problems: []string{
			`endpoints[0].hostname "a.b": ` + wantHostname,
			`endpoints[2].hostname "A": ` + wantHostname,
		}},
	{name: "pod names", kind: "EndpointSlice", options: Options{PodNames: true}, yaml: sliceOfWeb + `
endpoints:
- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: web-0}}
- {addresses: [10.1.0.2], targetRef: {kind: Pod, name: web-1}, hostname: own}
- {addresses: [10.1.0.3], targetRef: {kind: Pod, name: web.2}}
- {addresses: [10.1.0.4], targetRef: {kind: Pod, name: a23456789012345678901234567890123456789012345678901234567890123}}
- {addresses: [10.1.0.5], targetRef: {kind: Pod, name: a234567890123456789012345678901234567890123456789012345678901234}}
- {addresses: [10.1.0.6], targetRef: {kind: Node, name: node-1}}
- {addresses: [10.1.0.7]}`,
		want: "default/web-x of default/web v9 ports=[] 10.1.0.1/web-0//+R+S 10.1.0.2/own//+R+S 10.1.0.3///+R+S 10.1.0.4/a23456789012345678901234567890123456789012345678901234567890123//+R+S 10.1.0.5///+R+S 10.1.0.6///+R+S 10.1.0.7///+R+S"},
}

var otherConversions = []conversion{
	{name: "namespace", kind: "Namespace", yaml: `metadata: {name: shop, namespace: ignored}`, want: "shop"},
	{name: "namespace in deletion", kind: "Namespace", yaml: `
metadata: {name: shop}
status: {phase: Terminating}`, want: "shop"},
	{name: "namespace whose name is no label", kind: "Namespace", yaml: `metadata: {name: a.b}`,
		problems: []string{`metadata.name "a.b": ` + wantLabel}},
	{name: "pod", kind: "Pod", yaml: `
metadata: {name: web.0, namespace: shop}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: "FD00::1"}]}`,
		want: "shop/web.0 [10.1.0.1 fd00::1]"},
	{name: "pod with podIP alone", kind: "Pod", yaml: `
metadata: {name: web-0}
status: {podIP: 10.1.0.1}`,
		want: "default/web-0 [10.1.0.1]"},
	{name: "pod with labels that nobody asked for", kind: "Pod", yaml: `
metadata: {name: web-0, labels: {app: web}}
status: {podIP: 10.1.0.1}`,
		want: "default/web-0 [10.1.0.1]"},
	{name: "pod with labels", kind: "Pod", options: Options{PodLabels: true}, yaml: `
metadata: {name: web-0, labels: {app.kubernetes.io/name: web, app: "", Tier: x}}
status: {podIP: 10.1.0.1}`,
		want: "default/web-0 [10.1.0.1] Tier=x app= app.kubernetes.io/name=web"},
	{name: "pod without address", kind: "Pod", yaml: `
metadata: {name: web-0}
status: {phase: Pending}`},
	{name: "pod that succeeded", kind: "Pod", yaml: `
metadata: {name: web-0}
status: {phase: Succeeded, podIPs: [{ip: 10.1.0.1}]}`},
	{name: "pod that failed", kind: "Pod", yaml: `
metadata: {name: web-0}
status: {phase: Failed, podIPs: [{ip: 10.1.0.1}]}`},
	{name: "pod with broken addresses", kind: "Pod", yaml: `
metadata: {name: web-0}
status: {podIPs: [{ip: x}, {ip: 10.1.0.1}]}`,
		want:     "default/web-0 [10.1.0.1]",
		problems: []string{`status.podIPs[0].ip "x": ` + wantIP}},
	{name: "pod with a broken podIP", kind: "Pod", yaml: `
metadata: {name: web-0}
status: {podIP: x}`,
		problems: []string{`status.podIP "x": ` + wantIP}},
	{name: "pod without name", kind: "Pod", yaml: `
metadata: {namespace: A}
status: {podIP: 10.1.0.1}`,
		problems: []string{`metadata.name "": ` + wantName, `metadata.namespace "A": ` + wantLabel}},
	{name: "node", kind: "Node", yaml: `
metadata: {name: n1.example.org, labels: {topology.kubernetes.io/zone: z1}}
status: {addresses: [{type: Hostname, address: n1}, {type: ExternalIP, address: 192.0.2.1}, {type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: "FD00::1"}, {type: InternalDNS, address: n1.internal}]}`,
		want: "n1.example.org [10.0.0.1 fd00::1 192.0.2.1] zone=z1"},
	{name: "node with a broken address", kind: "Node", yaml: `
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: x}]}`,
		want:     "n1 [] zone=",
		problems: []string{`status.addresses[0].address "x": ` + wantIP}},
	{name: "node without name", kind: "Node", yaml: `metadata: {}`,
		problems: []string{`metadata.name "": ` + wantName}},
}
