package nftables

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenTables are the tables and hosts of the golden files, by name.
func goldenTables() map[string]goldenTable {
	udp := testRoute(1, 2)
	udp.Protocol, udp.Port = cluster.UDP, 53
	local := testRoute(1, 3)
	local.Kind, local.Addr, local.Local = vip.LoadBalancer, addr("203.0.113.1"), local.Cluster[1:2]
	local.Policy = vip.ExternalLocal
	dropped := testRoute(2, 1)
	dropped.Policy = vip.ExternalLocalDrop
	ranges := testRoute(1, 2)
	ranges.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("203.0.113.0/25")}
	nobody := testRoute(2, 0)
	nobody.Sources = []netip.Prefix{}
	sticky, port := testRoute(1, 3), testRoute(1, 3)
	sticky.Affinity = 10800
	port.Affinity, port.Kind, port.Addr, port.Port = 10800, vip.NodePort, vip.AnyNode4, 30009
	port.Policy = vip.ClusterMasquerade
	bridge, prefix := testHost, testHost
	bridge.Pods = vip.Pods{Interface: "cni0"}
	prefix.Pods = vip.Pods{Prefix: "cali"}
	prefix.NodePortAll4, prefix.NodePortAll6 = true, true
	table := func(routes ...*vip.Route) *vip.Table {
		t := vip.NewTable()
		for i, r := range routes {
			t.Set(service(i), []*vip.Route{r})
		}
		return t
	}
	return map[string]goldenTable{
		"empty":         {testHost, table()},
		"one-udp":       {testHost, table(udp)},
		"five-backends": {testHost, testTable(1, 5)},
		"no-backends":   {testHost, testTable(1, 0)},
		"mixed":         {testHost, mixedTable()},
		"policies":      {testHost, table(local, dropped)},
		"sources":       {testHost, table(ranges, nobody)},
		"affinity":      {testHost, table(sticky, port)},
		"rest":          {testHost, table(testRoute(1, 1), restOf(1, testRoute(1, 1).Addr))},
		"bridge":        {bridge, table(testRoute(1, 1))},
		"prefix":        {prefix, table(port, testRoute(2, 1))},
	}
}

type goldenTable struct {
	host  dataplane.Host
	table *vip.Table
}

// TestGolden holds the text of the rules against testdata: the table as people
// read it, and what becomes of it.
func TestGolden(t *testing.T) {
	for name, golden := range goldenTables() {
		t.Run(name, func(t *testing.T) {
			rules, err := Render(golden.host, golden.table)
			if err != nil {
				t.Fatal(err)
			}
			got := &txtar.Archive{Files: []txtar.File{{Name: "table", Data: []byte(golden.table.String())}, {Name: "rules", Data: []byte(rules)}}}
			file := filepath.Join("testdata", name+".txtar")
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
				t.Errorf("%s (-want +got), with -update it is written anew:\n%s", file, diff)
			}
			for range 5 {
				if again, _ := Render(golden.host, golden.table); again != rules {
					t.Fatal("the text of the same table differs from time to time")
				}
			}
		})
	}
}

// TestHostsAreAdopted loads the text for each of the hosts and writes nothing.
func TestHostsAreAdopted(t *testing.T) {
	for _, name := range []string{"bridge", "prefix", "rest", "sources", "policies", "affinity"} {
		t.Run(name, func(t *testing.T) {
			netlab.OwnNetwork(t)
			golden := goldenTables()[name]
			plan, err := Render(golden.host, golden.table)
			if err != nil {
				t.Fatal(err)
			}
			mustNFT(t, plan, "-f", "-")
			d := open(t, shared)
			if err := d.Sync(context.Background(), golden.host, golden.table); err != nil {
				t.Fatal(err)
			}
			if d.conn.Commits() != 0 {
				t.Errorf("%d commits after nft loaded the plan, want none", d.conn.Commits())
			}
		})
	}
}

// TestPlanIsAcceptedByNFT feeds the golden rules to the tool, which checks them in the kernel.
func TestPlanIsAcceptedByNFT(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			netlab.OwnNetwork(t)
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mustNFT(t, string(archive.Files[1].Data), "-c", "-f", "-")
		})
	}
}

// randomRoute draws a route of a frontend, or none.
func randomRoute(t *rapid.T, f vip.Frontend) *vip.Route {
	if rapid.IntRange(0, 4).Draw(t, "route") == 0 {
		return nil
	}
	v4 := f.Addr.Is4()
	r := &vip.Route{Frontend: f}
	r.Kind, r.Policy = randomPolicy(t, f)
	serve(r, randomBackends(t, v4), randomBackends(t, v4))
	if r.Kind == vip.LoadBalancer {
		r.Sources = randomSources(t, v4)
	}
	return r
}

// TestSizesAreThoseOfTheMessages holds what the writer counts against what it sends.
func TestSizesAreThoseOfTheMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(families).Draw(t, "family")
		l := newLayout(f, testHost)
		w := &writer{lists: map[*set]*lists{}}
		size := 0
		for _, o := range randomOps(t, l) {
			size += o.size()
			w.encode(&o)
		}
		got := 0
		for _, list := range w.order {
			got += len(list.drops) + len(list.puts)
		}
		if got != size {
			t.Fatalf("%d bytes counted, %d sent", size, got)
		}
	})
}

func randomOps(t *rapid.T, l *layout) []op {
	var ops []op
	for range rapid.IntRange(1, 5).Draw(t, "routes") {
		f := vip.Frontend{Addr: randomFrontend(t, l.Family == nft.IPv4), Port: 80, Protocol: cluster.UDP}
		have := l.route(randomRoute(t, f), 0, installed{})
		ops = append(ops, l.ops(f, have, l.route(randomRoute(t, f), 0, have))...)
		for _, k := range intervals(l.Family, testHost.Pods.CIDRs) {
			ops = append(ops, op{verb: put, set: l.podCIDRs, key: k})
		}
	}
	return ops
}

// TestElementsAreReadAsWritten reads what the writer writes.
func TestElementsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(families).Draw(t, "family")
		l := newLayout(f, testHost)
		for _, o := range randomOps(t, l) {
			if o.verb == drop {
				continue
			}
			var e nft.Element
			o.set.element(&e, o.key, o.val)
			k, v, ok := o.set.parse(e)
			k.protocol = o.key.protocol // the keys of backends do not say it
			if !ok || k != o.key || v != o.val {
				t.Fatalf("%s: %v, %v is read as %v, %v, %v", o.set.Name, o.key, o.val, k, v, ok)
			}
		}
	})
}

// FuzzElement reads what a kernel could list as an element.
func FuzzElement(f *testing.F) {
	l := newLayout(nft.IPv4, testHost)
	sets := []*set{l.groupSet(group{treatment: plain}), l.groupSet(group{treatment: plain, node: true}), l.classSet(class{protocol: 6, size: 8}), l.classSet(class{path: path{node: true}, protocol: 17, size: 1}), l.hairpin, l.podCIDRs}
	for i, s := range sets {
		var e nft.Element
		s.element(&e, key{addr: addr("10.0.0.1"), port: 80, slot: 3, protocol: 6}, value{to: netip.MustParseAddrPort("10.1.1.1:80"), comment: "ns/name:port"})
		f.Add(i, e.Key, e.Value, e.End, e.Comment)
	}
	f.Fuzz(func(t *testing.T, i int, keyBytes, valueBytes []byte, end bool, comment string) {
		s := sets[uint(i)%uint(len(sets))]
		k, v, ok := s.parse(nft.Element{Key: keyBytes, Value: valueBytes, End: end, Comment: comment})
		if !ok {
			return
		}
		var again nft.Element
		s.element(&again, k, v)
		if k2, v2, ok := s.parse(again); !ok || k2 != k || s.Value != nil && v2.to != v.to {
			t.Errorf("%v, %v is read again as %v, %v, %v", k, v, k2, v2, ok)
		}
	})
}
