package source

var policyConversions = []conversion{
	{name: "policies Local", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, internalTrafficPolicy: Local, externalTrafficPolicy: Local, healthCheckNodePort: 32000}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[] 0 32000 } local=true/true`},
	{name: "policies Cluster", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster}`,
		want: `default/web type=0 headless=false ips=[10.0.0.1] ports=[]`},
	{name: "broken policies", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, internalTrafficPolicy: local, externalTrafficPolicy: Node, sessionAffinity: Cookie, healthCheckNodePort: 65536}`,
		want: `default/web type=0 headless=false ips=[10.0.0.1] ports=[]`,
		problems: []string{
			`spec.internalTrafficPolicy "local": ` + wantTrafficPolicy,
			`spec.externalTrafficPolicy "Node": ` + wantTrafficPolicy,
			`spec.sessionAffinity "Cookie": ` + wantAffinity,
			`spec.healthCheckNodePort "65536": ` + wantNodePort,
		}},
	{name: "affinity", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, sessionAffinity: ClientIP}`,
		want: `default/web type=0 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[] 10800 0 }`},
	{name: "affinity with a timeout", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}}`,
		want: `default/web type=0 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[] 86400 0 }`},
	{name: "affinity for too long", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}}`,
		want:     `default/web type=0 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[] 10800 0 }`,
		problems: []string{`spec.sessionAffinityConfig.clientIP.timeoutSeconds "86401": ` + wantTimeout}},
	{name: "a timeout without affinity", kind: "Service", yaml: `
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, sessionAffinity: None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}}`,
		want: `default/web type=0 headless=false ips=[10.0.0.1] ports=[]`},
	{name: "source ranges, with spaces, leading zeros, host bits and repeated", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, loadBalancerSourceRanges: [" 203.0.113.0/25", 10.0.0.0/8, "010.000.00.001/8 ", "2001:db8::1/64", "::ffff:192.0.2.0/120"]}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[203.0.113.0/25 10.0.0.0/8 2001:db8::/64 192.0.2.0/24] 0 0 }`},
	{name: "broken source ranges", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, loadBalancerSourceRanges: [192.0.2.1, 192.0.2.0/33, "fe80::1%eth0/64", "", 10.0.0.0/-1]}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[::/128 0.0.0.0/32] 0 0 }`,
		problems: []string{
			`spec.loadBalancerSourceRanges[0] "192.0.2.1": ` + wantSourceRange,
			`spec.loadBalancerSourceRanges[1] "192.0.2.0/33": ` + wantSourceRange,
			`spec.loadBalancerSourceRanges[2] "fe80::1%eth0/64": ` + wantSourceRange,
			`spec.loadBalancerSourceRanges[3] "": ` + wantSourceRange,
			`spec.loadBalancerSourceRanges[4] "10.0.0.0/-1": ` + wantSourceRange,
		}},
	{name: "a load balancer that wants its packets itself", kind: "Service", yaml: `
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1}
status: {loadBalancer: {ingress: [{ip: 198.51.100.1, ipMode: VIP}, {ip: 198.51.100.2, ipMode: Proxy}, {ip: 198.51.100.3}]}}`,
		want: `default/web type=2 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[198.51.100.1 198.51.100.2 198.51.100.3] proxied=[198.51.100.2]`},
	{name: "a scheduler", kind: "Service", yaml: `
metadata: {name: web, annotations: {signpost.dev/scheduler: lc, other: x}}
spec: {clusterIP: 10.0.0.1}`,
		want: `default/web type=0 headless=false ips=[10.0.0.1] ports=[] name="" external=[] lb=[] policy={[] 0 0 lc}`},
	{name: "a scheduler that is none", kind: "Service", yaml: `
metadata: {name: web, annotations: {signpost.dev/scheduler: "rr\n-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 6.6.6.6:443 -m\u001b[31m"}}
spec: {clusterIP: 10.0.0.1}`,
		want:     `default/web type=0 headless=false ips=[10.0.0.1] ports=[]`,
		problems: []string{`metadata.annotations[signpost.dev/scheduler] "rr\n-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 6.6.6.6:443 -m\x1b[31m": ` + wantScheduler}},
	{name: "a scheduler that Linux does not have", kind: "Service", yaml: `
metadata: {name: web, annotations: {signpost.dev/scheduler: rr_}}
spec: {clusterIP: 10.0.0.1}`,
		want:     `default/web type=0 headless=false ips=[10.0.0.1] ports=[]`,
		problems: []string{`metadata.annotations[signpost.dev/scheduler] "rr_": ` + wantScheduler}},
	{name: "names of nodes and zones that are none", kind: "EndpointSlice", yaml: `
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.1], nodeName: "a b", zone: "x\ny", hints: {forZones: [{name: zone-a}, {name: "a,b"}], forNodes: [{name: node-1}, {name: UPPER}]}}`,
		want: "default/web-x of default/web v0 ports=[] 10.1.0.1///+R+S for zone-a;node-1",
		problems: []string{
			`endpoints[0].zone "x\ny": ` + wantZone, `endpoints[0].nodeName "a b": ` + wantNodeName,
			`endpoints[0].hints.forZones "a,b": ` + wantZone, `endpoints[0].hints.forNodes "UPPER": ` + wantNodeName,
		}},
	{name: "the kubelet's port", kind: "Node", yaml: `
metadata: {name: node-1}
status: {daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}`,
		want: "node-1 [] zone= kubelet=10250"},
	{name: "a zone that is none", kind: "Node", yaml: `
metadata: {name: node-1, labels: {topology.kubernetes.io/zone: "a b"}}`,
		want:     "node-1 [] zone=",
		problems: []string{`metadata.labels[topology.kubernetes.io/zone] "a b": ` + wantZone}},
	{name: "hints", kind: "EndpointSlice", yaml: `
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.1], hints: {forZones: [{name: zone-a}]}}
- {addresses: [10.1.0.2], hints: {forZones: [{name: zone-a}, {name: zone-b}], forNodes: [{name: node-1}]}}
- {addresses: [10.1.0.3], hints: {}}`,
		want: "default/web-x of default/web v0 ports=[] 10.1.0.1///+R+S for zone-a; 10.1.0.2///+R+S for zone-a,zone-b;node-1 10.1.0.3///+R+S"},
	{name: "node with taints of no deletion", kind: "Node", yaml: `
metadata: {name: n1}
spec: {unschedulable: true, taints: [{key: DeletionCandidateOfClusterAutoscaler}, {key: node.kubernetes.io/unschedulable}]}`,
		want: "n1 [] zone="},
	{name: "node that the cluster autoscaler deletes", kind: "Node", yaml: `
metadata: {name: n1}
spec: {taints: [{key: a}, {key: ToBeDeletedByClusterAutoscaler, value: "1", effect: NoSchedule}]}`,
		want: "n1 [] zone= leaving"},
	{name: "node that is deleted", kind: "Node", yaml: `
metadata: {name: n1, deletionTimestamp: "2026-01-01T00:00:00Z"}`,
		want: "n1 [] zone= leaving"},
	{name: "pod networks of a node", kind: "Node", yaml: `
metadata: {name: node-1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64", x]}`,
		want:     "node-1 [] zone= pods=[10.244.1.0/24 fd00:10:244:1::/64]",
		problems: []string{`spec.podCIDRs[2] "x": ` + wantCIDR}},
	{name: "podCIDR alone", kind: "Node", yaml: `
metadata: {name: node-1}
spec: {podCIDR: 10.244.1.0/24}`,
		want: "node-1 [] zone= pods=[10.244.1.0/24]"},
	{name: "a range of ClusterIPs", kind: "ServiceCIDR", yaml: `
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/12, "fd00:10:96::/112", 10.0.0.0]}`,
		want:     "kubernetes [10.96.0.0/12 fd00:10:96::/112]",
		problems: []string{`spec.cidrs[2] "10.0.0.0": ` + wantCIDR}},
}
