package nftables

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// sizes are the numbers of Services, of five backends each.
var sizes = []int{1_000, 10_000, 50_000}

// BenchmarkInstall fills the tables of an empty host.
func BenchmarkInstall(b *testing.B) {
	for _, n := range sizes {
		b.Run("services="+strconv.Itoa(n), func(b *testing.B) {
			netlab.OwnNetwork(b)
			table := testTable(n, 5)
			for b.Loop() {
				b.StopTimer()
				d := open(b, shared)
				for _, f := range families {
					if _, err := d.conn.RemoveTable(ourTable(f)); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				mustSync(b, d, table)
				b.StopTimer()
				d.Close()
				b.StartTimer()
			}
		})
	}
}

// everything is a table of Services with all that there is: a ClusterIP with the rest of
// its address, a NodePort and an address of a load balancer with source ranges, external
// traffic to the backends of this node, and affinity if the client is to be remembered.
func everything(services, backends int, affinity uint32) *vip.Table {
	t := vip.NewTable()
	for i := range services {
		t.Set(service(i), everyRoute(i, backends, affinity))
	}
	return t
}

func everyRoute(i, backends int, affinity uint32) []*vip.Route {
	inside := testRoute(i, backends)
	inside.Affinity = affinity
	outside := *inside
	outside.Local = inside.Cluster[:1]
	outside.Policy = vip.ExternalLocal
	port, balancer := outside, outside
	port.Kind, port.Frontend = vip.NodePort, vip.Frontend{Addr: vip.AnyNode4, Port: uint16(20_000 + i), Protocol: inside.Protocol}
	balancer.Kind, balancer.Addr = vip.LoadBalancer, netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
	balancer.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.7/32")}
	return []*vip.Route{&port, restOf(i, inside.Addr), inside, &balancer}
}

// BenchmarkEverything installs Services with all that there is, replaces one endpoint of
// one of them, and tells what the kernel takes for each.
func BenchmarkEverything(b *testing.B) {
	const n = 10_000
	for name, affinity := range map[string]uint32{"plain": 0, "affinity": 10800} {
		b.Run(name+"/install", func(b *testing.B) {
			netlab.OwnNetwork(b)
			table := everything(n, 5, affinity)
			for b.Loop() {
				b.StopTimer()
				d := open(b, shared)
				for _, f := range families {
					if _, err := d.conn.RemoveTable(ourTable(f)); err != nil {
						b.Fatal(err)
					}
				}
				mustSync(b, d, vip.NewTable())
				runtime.GC()
				before := kernelMemory(b)
				b.StartTimer()
				mustSync(b, d, table)
				b.StopTimer()
				b.ReportMetric(float64(kernelMemory(b)-before)/n, "B/service")
				d.Close()
				b.StartTimer()
			}
		})
		for _, n := range []int{1000, n} {
			b.Run(fmt.Sprintf("%s/replace/services=%d", name, n), func(b *testing.B) {
				netlab.OwnNetwork(b)
				table := everything(n, 5, affinity)
				d := open(b, shared)
				mustSync(b, d, table)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					i++
					routes := everyRoute(n/2, 5, affinity)
					if i%2 == 0 {
						other := slices.Clone(routes[2].Cluster)
						other[2].AddrPort = testRoute(1_000_000, 1).Cluster[0].AddrPort
						sortBackends(other)
						for _, r := range routes {
							if r.Cluster != nil {
								r.Cluster = other
							}
						}
					}
					mustApply(b, d, table.Set(service(n/2), routes))
				}
			})
		}
	}
}

// BenchmarkMemory tells what the tables take in the kernel, for each Service of
// five backends. Anything else that happens on the machine is counted too, so it
// is of use on a quiet one and for many Services.
func BenchmarkMemory(b *testing.B) {
	const n = 50_000
	for b.Loop() {
		netlab.OwnNetwork(b)
		d := open(b, shared)
		mustSync(b, d, vip.NewTable())
		table := testTable(n, 5)
		runtime.GC()
		before := kernelMemory(b)
		mustSync(b, d, table)
		b.ReportMetric(float64(kernelMemory(b)-before)/n, "B/service")
	}
}

// kernelMemory is what the kernel keeps for itself, in bytes: small objects that
// cannot be reclaimed, and the large areas that hold the buckets of its maps.
func kernelMemory(b *testing.B) int {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "SUnreclaim:" || f[0] == "VmallocUsed:") {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				b.Fatal(err)
			}
			sum += kib << 10
		}
	}
	return sum
}

// BenchmarkPeer is the shape of kube-proxy's rules, as the nft tool loads them: a
// chain for each Service, with a map of its own that has no name.
func BenchmarkPeer(b *testing.B) {
	for _, n := range []int{1_000, 5_000} {
		rules := peerRules(n)
		change := strings.NewReplacer("10.128.", "10.129.").Replace(peerChain(testRoute(n/2, 5)))
		b.Run(fmt.Sprintf("install/services=%d", n), func(b *testing.B) {
			netlab.OwnNetwork(b)
			for b.Loop() {
				b.StopTimer()
				mustNFT(b, "flush ruleset", "-f", "-")
				b.StartTimer()
				mustNFT(b, rules, "-f", "-")
			}
		})
		b.Run(fmt.Sprintf("change/services=%d", n), func(b *testing.B) {
			netlab.OwnNetwork(b)
			mustNFT(b, rules, "-f", "-")
			for b.Loop() {
				mustNFT(b, fmt.Sprintf("flush chain ip peer service-%d\ntable ip peer {\n%s}\n", n/2, change), "-f", "-")
			}
		})
	}
}

func peerRules(n int) string {
	var chains, elements strings.Builder
	for i := range n {
		r := testRoute(i, 5)
		fmt.Fprintf(&elements, "%v . tcp . %d : goto service-%d,\n", r.Addr, r.Port, i)
		chains.WriteString(peerChain(r))
	}
	return "table ip peer {\n" +
		"chain mark-for-masquerade { meta mark set meta mark | 0x4000; }\n" + chains.String() +
		"map services {\ntype ipv4_addr . inet_proto . inet_service : verdict\nelements = {\n" + elements.String() + "} }\n" +
		"chain prerouting {\ntype nat hook prerouting priority dstnat\nip daddr . meta l4proto . th dport vmap @services\n}\n" +
		"chain output {\ntype nat hook output priority -100\nip daddr . meta l4proto . th dport vmap @services\n}\n}\n"
}

func peerChain(r *vip.Route) string {
	var backends []string
	for i, b := range r.Cluster {
		backends = append(backends, fmt.Sprintf("%d : %v . %d", i, b.Addr(), b.Port()))
	}
	return fmt.Sprintf("chain service-%d {\nip daddr %v tcp dport %d ip saddr != 10.244.0.0/16 jump mark-for-masquerade\n"+
		"meta l4proto tcp dnat ip to numgen random mod %d map { %s }\n}\n",
		r.Created, r.Addr, r.Port, len(backends), strings.Join(backends, ", "))
}

// BenchmarkAdopt reads the tables of the host and finds nothing to do.
func BenchmarkAdopt(b *testing.B) {
	for _, n := range sizes {
		b.Run("services="+strconv.Itoa(n), func(b *testing.B) {
			netlab.OwnNetwork(b)
			table := testTable(n, 5)
			d := open(b, shared)
			mustSync(b, d, table)
			for b.Loop() {
				mustSync(b, d, table)
			}
		})
	}
}

// BenchmarkChange changes the backends of one Service among many.
func BenchmarkChange(b *testing.B) {
	changes := []struct {
		name     string
		from, to func(r *vip.Route)
	}{
		{"replace", resize(5), func(r *vip.Route) {
			r.Cluster[2] = vip.Backend{AddrPort: testRoute(1_000_000, 1).Cluster[0].AddrPort}
			sortBackends(r.Cluster)
		}},
		{"5to6", resize(5), resize(6)}, // inside a class
		{"4to5", resize(4), resize(5)}, // from one class to the next
	}
	for _, c := range changes {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/services=%d", c.name, n), func(b *testing.B) {
				netlab.OwnNetwork(b)
				table := testTable(n, 5)
				d := open(b, shared)
				mustSync(b, d, table)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					i++
					r := testRoute(n/2, 5)
					c.from(r)
					if i%2 == 0 {
						c.to(r)
					}
					mustApply(b, d, table.Set(r.Owner.Service, []*vip.Route{r}))
				}
			})
		}
	}
}

// resize gives a route so many backends.
func resize(n int) func(*vip.Route) {
	return func(r *vip.Route) { r.Cluster = testRoute(int(r.Created), n).Cluster }
}
