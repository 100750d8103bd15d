package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// holdEnv makes the test binary hold the tables until it is killed.
const holdEnv = "NFTABLES_TEST_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(holdEnv) != "" {
		hold()
		return
	}
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// shared and owned are the two ways to hold the tables.
var shared, owned = Options{Shared: true}, Options{}

func open(t testing.TB, o Options) *Dataplane {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if !o.Shared && !d.can.persist {
		netlab.Skip(t, "this kernel has no tables that outlive their owner: expected Linux 6.9 or newer")
	}
	return d
}

func mustSync(t testing.TB, d *Dataplane, table *vip.Table) {
	t.Helper()
	if err := d.Sync(context.Background(), testHost, table); err != nil {
		t.Fatal(err)
	}
}

func mustApply(t testing.TB, d *Dataplane, changes []vip.Change) {
	t.Helper()
	if err := applyAll(d, changes); err != nil {
		t.Fatal(err)
	}
}

// applyAll is Apply, and all of what it leaves.
func applyAll(d *Dataplane, changes []vip.Change) error {
	_, err := d.Apply(context.Background(), changes)
	errs := []error{err}
	for d.unfinished() && !fatal(errs[len(errs)-1]) {
		_, err := d.Tick(context.Background(), d.looked)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// intact has d look at the kernel.
func intact(d *Dataplane) (bool, error) {
	state, err := d.Tick(context.Background(), d.looked.Add(lookPeriod))
	return !state.Changed, errors.Join(err, state.Unseen)
}

func mustIntact(t testing.TB, d *Dataplane, want bool) {
	t.Helper()
	if ok, err := intact(d); err != nil || ok != want {
		t.Fatalf("intact: %v, %v, want %v", ok, err, want)
	}
}

// runNFT runs the distribution's tool in the network of the test. It skips the test where there is none.
func runNFT(t testing.TB, input string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		netlab.Skip(t, err.Error()+" (apt-get install nftables)")
	}
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(input)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("nft %v: %w\n%s", args, err, stderr.String())
	}
	return out.String(), nil
}

func mustNFT(t testing.TB, input string, args ...string) string {
	t.Helper()
	out, err := runNFT(t, input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sorted makes two listings comparable: nft lists tables and chains in the order
// of their making, and elements in none.
func sorted(listing string) string {
	var blocks []string
	var table, block string
	var lines []string
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(strings.Split(line, "# progname")[0])
		line = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(line, "elements = { "), " }"), ",")
		switch name, opens := strings.CutSuffix(line, " {"); {
		case line == "" || line == "flags owner" || line == "flags" || strings.HasPrefix(line, "comment "):
		case strings.HasPrefix(line, "table "):
			table = name
		case opens:
			block = name
		case line != "}":
			lines = append(lines, line)
		case block != "":
			if !strings.HasPrefix(block, "chain ") {
				slices.Sort(lines)
			}
			blocks = append(blocks, table+" "+block+"\n  "+strings.Join(lines, "\n  "))
			block, lines = "", nil
		}
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "\n")
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var testHost = dataplane.Host{
	Host: vip.Host{
		NodePortAddrs: []netip.Addr{addr("172.30.0.11"), addr("fd00:30::11"), addr("192.168.7.1")},
		Pods: vip.Pods{CIDRs: []netip.Prefix{
			netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48"),
			netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("10.245.0.0/24"),
		}},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
		DropsUnused:  true,
	},
	MasqueradeMark: 0x4000,
}

func service(i int) cluster.Key {
	return cluster.Key{Namespace: "default", Name: fmt.Sprintf("service-%d", i)}
}

// testTable has Services of one TCP port with so many backends each.
func testTable(services, backends int) *vip.Table {
	t := vip.NewTable()
	for i := range services {
		t.Set(service(i), []*vip.Route{testRoute(i, backends)})
	}
	return t
}

func testRoute(i, backends int) *vip.Route {
	r := &vip.Route{
		Frontend: vip.Frontend{Addr: netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)}), Port: 80, Protocol: cluster.TCP},
		Owner:    vip.Owner{Service: service(i), Port: "http"},
		Created:  int64(i),
	}
	if r.Policy = vip.ClusterPods; backends == 0 {
		r.Policy = vip.RejectAll
	}
	for b := range backends {
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: netip.AddrPortFrom(backendAddr(i*backends+b), 8080)})
	}
	return r
}

// backendAddr is the address of the nth of many pods.
func backendAddr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)})
}

// randomRoutes draws what a Service could have: few addresses, ports and pods, so
// that Services collide and share, both families, all protocols, all policies.
func randomRoutes(t *rapid.T, i int) []*vip.Route {
	var routes []*vip.Route
	seen := map[vip.Frontend]bool{}
	for range rapid.IntRange(0, 4).Draw(t, "frontends") {
		v4 := rapid.Bool().Draw(t, "ipv4")
		f := vip.Frontend{
			Addr:     randomFrontend(t, v4),
			Port:     rapid.SampledFrom([]uint16{53, 80}).Draw(t, "port"),
			Protocol: rapid.SampledFrom([]cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP}).Draw(t, "protocol"),
		}
		if seen[f] {
			continue
		}
		seen[f] = true
		r := &vip.Route{
			Frontend: f, Created: int64(rapid.IntRange(0, 2).Draw(t, "created")),
			Owner: vip.Owner{Service: service(i), Port: rapid.SampledFrom([]string{"", "dns"}).Draw(t, "name")},
		}
		r.Kind, r.Policy = randomPolicy(t, f)
		serve(r, randomBackends(t, v4), randomBackends(t, v4))
		if r.Kind == vip.LoadBalancer {
			r.Sources = randomSources(t, v4)
		}
		r.Affinity = rapid.SampledFrom([]uint32{0, 0, 10, 10800}).Draw(t, "affinity")
		routes = append(routes, r)
	}
	for _, a := range []netip.Addr{addr("10.96.0.1"), addr("fd00:96::1")} {
		if rapid.Bool().Draw(t, "rest") {
			routes = append(routes, restOf(i, a))
		}
	}
	slices.SortFunc(routes, func(a, b *vip.Route) int { return a.Compare(b.Frontend) })
	return routes
}

// randomPolicy draws a kind that a frontend could have, and a policy of that kind.
func randomPolicy(t *rapid.T, f vip.Frontend) (vip.Kind, vip.Policy) {
	kind := vip.NodePort
	if !f.IsNodePort() {
		kind = rapid.SampledFrom([]vip.Kind{vip.ClusterIP, vip.ExternalIP, vip.LoadBalancer}).Draw(t, "kind")
	}
	policies := []vip.Policy{vip.ClusterMasquerade, vip.ExternalLocal, vip.ExternalLocalNoPods}
	if kind == vip.ClusterIP {
		policies = []vip.Policy{vip.ClusterKeep, vip.ClusterPods, vip.ClusterMasquerade, vip.LocalKeep, vip.LocalPods, vip.LocalMasquerade}
	}
	return kind, rapid.SampledFrom(policies).Draw(t, "policy")
}

// serve gives a route backends, as vip.Build does, and the policy that it has with these.
func serve(r *vip.Route, all, here []vip.Backend) {
	switch {
	case r.Policy.LeadsTo(vip.Cluster) && len(all) == 0:
		r.Policy = vip.RejectAll
	case !r.Policy.LeadsTo(vip.Local) || len(here) > 0:
	case r.Policy == vip.ExternalLocal:
		r.Policy = vip.ExternalLocalDrop
	case r.Policy == vip.ExternalLocalNoPods:
		r.Policy = vip.ExternalLocalNoPodsDrop
	default:
		r.Policy = vip.DropAll
	}
	r.Cluster, r.Local = nil, nil
	if r.Policy.LeadsTo(vip.Cluster) {
		r.Cluster = all
	}
	if r.Policy.LeadsTo(vip.Local) {
		r.Local = here
	}
}

// randomSources draws source ranges as vip has them: nil for everybody.
func randomSources(t *rapid.T, v4 bool) []netip.Prefix {
	if rapid.IntRange(0, 2).Draw(t, "ranges") > 0 {
		return nil
	}
	choice := []string{"10.244.0.0/24", "10.244.1.7/32", "192.0.2.0/25", "198.51.100.0/24"}
	if !v4 {
		choice = []string{"fd00:10::/64", "fd00:10:0:1::7/128", "2001:db8::/33", "2001:db9::/64"}
	}
	list := []netip.Prefix{}
	for _, n := range choice {
		if rapid.Bool().Draw(t, n) {
			list = append(list, netip.MustParsePrefix(n))
		}
	}
	return list
}

// restOf is the refusal of all other ports of a Service's ClusterIP.
func restOf(i int, a netip.Addr) *vip.Route {
	r := &vip.Route{Frontend: vip.Frontend{Addr: a}, Kind: vip.OtherPorts, Owner: vip.Owner{Service: service(i)}, Created: int64(i)}
	r.Policy = vip.RejectAll
	return r
}

// otherBackends are the same routes with some backends less and some more.
func otherBackends(t *rapid.T, routes []*vip.Route) []*vip.Route {
	var changed []*vip.Route
	for _, r := range routes {
		n := *r
		if r.Kind != vip.OtherPorts {
			serve(&n, others(t, r.Cluster, r.Addr.Is4()), others(t, r.Local, r.Addr.Is4()))
		}
		changed = append(changed, &n)
	}
	return changed
}

func others(t *rapid.T, list []vip.Backend, v4 bool) []vip.Backend {
	list = slices.DeleteFunc(slices.Clone(list), func(vip.Backend) bool { return rapid.IntRange(0, 3).Draw(t, "goes") == 0 })
	for _, b := range randomBackends(t, v4) {
		if rapid.IntRange(0, 3).Draw(t, "comes") == 0 && !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	sortBackends(list)
	return list
}

func randomFrontend(t *rapid.T, v4 bool) netip.Addr {
	choice := []netip.Addr{vip.AnyNode6, addr("fd00:96::1"), addr("fd00:96::2")}
	if v4 {
		choice = []netip.Addr{vip.AnyNode4, addr("10.96.0.1"), addr("10.96.0.2")}
	}
	return rapid.SampledFrom(choice).Draw(t, "address")
}

func randomBackends(t *rapid.T, v4 bool) []vip.Backend {
	var list []vip.Backend
	for i := range rapid.SampledFrom([]int{0, 3, 9, 18}).Draw(t, "most backends") {
		if !rapid.Bool().Draw(t, "backend") {
			continue
		}
		a := netip.AddrFrom4([4]byte{10, 244, 0, byte(i)})
		if !v4 {
			a = netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 15: byte(i)})
		}
		list = append(list, vip.Backend{AddrPort: netip.AddrPortFrom(a, 8080), Local: i < 2})
	}
	return list
}

func sortBackends(list []vip.Backend) {
	slices.SortFunc(list, func(a, b vip.Backend) int { return a.Compare(b.AddrPort) })
}
