package cluster

import (
	"net/netip"
	"slices"

	"pgregory.net/rapid"
)

// A small world, so that random objects meet often: keys that are each other's
// mirror image, addresses that part at each octet and at several nibbles.
var (
	worldNames = []string{"a", "b", "c"}
	worldDraws = []string{"a", "a", "a", "b", "c"} // most of it happens in one place
	worldNodes = []string{"node-1", "node-2"}
	worldV4    = addrs("10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.0.1", "11.0.0.1", "192.168.0.1")
	worldV6    = addrs("fd00::1", "fd00::2", "fd00::11", "fd00:0:0:1::1", "fd01::1", "fd00:0:1000::", "2001:db8::f")
	worldPorts = [][]Port{
		{{Name: "http", Number: 80, Protocol: TCP}},
		{{Name: "http", Number: 8080, Protocol: TCP}},
		{{Name: "http", Number: 80, Protocol: TCP}, {Name: "dns", Number: 53, Protocol: UDP}},
	}
)

func worldAddrs() []netip.Addr { return slices.Concat(worldV4, worldV6) }

var (
	genName    = rapid.SampledFrom(worldDraws)
	genVersion = rapid.Uint64Range(0, 4)
	genKey     = rapid.Custom(func(t *rapid.T) Key {
		return Key{genName.Draw(t, "namespace"), genName.Draw(t, "name")}
	})
	genSliceKey = rapid.Custom(func(t *rapid.T) Key {
		return Key{genName.Draw(t, "namespace"), rapid.SampledFrom([]string{"s0", "s1", "s2", "s3"}).Draw(t, "slice")}
	})
	genNodeKey = rapid.Custom(func(t *rapid.T) Key {
		return Key{Name: rapid.SampledFrom(worldNodes).Draw(t, "node")}
	})
	genNamespaceKey = rapid.Custom(func(t *rapid.T) Key { return Key{Name: genName.Draw(t, "namespace")} })
)

var genService = rapid.Custom(func(t *rapid.T) any {
	svc := &Service{Key: genKey.Draw(t, "key"), Type: rapid.SampledFrom([]ServiceType{
		ClusterIP, NodePort, LoadBalancer, ExternalName,
	}).Draw(t, "type")}
	if svc.Type == ExternalName {
		svc.External = &External{Name: "example.org"}
		return svc
	}
	svc.Ports = []ServicePort{{Name: "http", Number: 80, Protocol: TCP}}
	families := rapid.IntRange(0, 3).Draw(t, "families") // bits: 1 IPv4, 2 IPv6
	svc.Headless = families == 0
	if families&1 != 0 {
		svc.ClusterIPs = append(svc.ClusterIPs, rapid.SampledFrom(worldV4).Draw(t, "v4"))
	}
	if families&2 != 0 {
		svc.ClusterIPs = append(svc.ClusterIPs, rapid.SampledFrom(worldV6).Draw(t, "v6"))
	}
	if rapid.IntRange(0, 3).Draw(t, "reached from outside") == 0 {
		some := rapid.SliceOfN(rapid.SampledFrom(worldAddrs()), 0, 3)
		svc.External = &External{IPs: some.Draw(t, "externalIPs"), LB: some.Draw(t, "balancer"), Hosts: []string{"lb.example.org"}}
	}
	return svc
})

var genEndpoint = rapid.Custom(func(t *rapid.T) Endpoint {
	return Endpoint{
		Addr:     rapid.SampledFrom(worldAddrs()).Draw(t, "addr"),
		Hostname: rapid.SampledFrom([]string{"", "web-0", "web-1"}).Draw(t, "hostname"),
		Node:     MakeAtom(rapid.SampledFrom(worldNodes).Draw(t, "node")),
		Conditions: rapid.SampledFrom([]Conditions{
			Ready | Serving, Ready | Serving, Ready | Serving | Additional, Serving | Terminating, Terminating, 0,
		}).Draw(t, "conditions"),
		Pod: rapid.SampledFrom([]PodID{0, 0, 1, 2}).Draw(t, "pod"),
	}
})

var genSlice = rapid.Custom(func(t *rapid.T) any {
	k := genSliceKey.Draw(t, "key")
	return twinSlice{
		key:       k,
		service:   Key{k.Namespace, genName.Draw(t, "service")},
		version:   genVersion.Draw(t, "version"),
		ports:     rapid.SampledFrom(worldPorts).Draw(t, "ports"),
		endpoints: rapid.SliceOfN(genEndpoint, 0, 6).Draw(t, "endpoints"),
	}
})

var genPod = rapid.Custom(func(t *rapid.T) any {
	return &Pod{Key: genKey.Draw(t, "key"), Addrs: rapid.SliceOfN(rapid.SampledFrom(worldAddrs()), 0, 3).Draw(t, "addrs")}
})

var genNode = rapid.Custom(func(t *rapid.T) any {
	return &Node{Name: genNodeKey.Draw(t, "key").Name, PodCIDRs: worldCIDRs[:1], Zone: MakeAtom(genName.Draw(t, "zone"))}
})

var genNamespace = rapid.Custom(func(t *rapid.T) any {
	return &Namespace{genNamespaceKey.Draw(t, "key").Name}
})

var worldCIDRs = []netip.Prefix{
	netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("172.30.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112"),
}

var genCIDR = rapid.Custom(func(t *rapid.T) any {
	return &ServiceCIDR{genNamespaceKey.Draw(t, "key").Name, rapid.SliceOfN(rapid.SampledFrom(worldCIDRs), 1, 2).Draw(t, "cidrs")}
})

var genImport = rapid.Custom(func(t *rapid.T) any { return &ServiceImport{genService.Draw(t, "service").(*Service)} })

var genImportedSlice = rapid.Custom(func(t *rapid.T) any { return &ImportedSlice{genSlice.Draw(t, "slice").(twinSlice).real()} })

// genObject and genRef are indexed by Kind.
var (
	genObject   = [kindCount]*rapid.Generator[any]{genService, genSlice, genNamespace, genPod, genNode, genCIDR, genImport, genImportedSlice}
	genKeyOf    = [kindCount]*rapid.Generator[Key]{genKey, genSliceKey, genNamespaceKey, genKey, genNodeKey, genNamespaceKey, genKey, genSliceKey}
	genKind     = rapid.SampledFrom([]Kind{KindService, KindSlice, KindNamespace, KindPod, KindNode, KindServiceCIDR})
	genAnything = rapid.OneOf(genService, genSlice, genSlice, genSlice, genNamespace, genPod, genNode, genCIDR)
)
