package iptables

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

var update = flag.Bool("update", false, "write golden files anew")

// kube-proxy's names: whoever greps for a chain finds it, and a running kube-proxy's rules are ours.
func TestNames(t *testing.T) {
	for _, c := range []struct{ owner, want string }{
		{"ns1/svc1:p80", "XPGD46QRK7WJZT7O"},
		{"ns4/svc4:p80", "4SW47YFZTEDKD3PK"},
	} {
		if got := hash(c.owner + "tcp"); got != c.want {
			t.Errorf("%s: %s, want %s", c.owner, got, c.want)
		}
	}
}

// The kernel keeps a probability in 2^31sts, and prints that.
func TestProbabilities(t *testing.T) {
	for n, want := range map[int]string{2: "0.50000000000", 3: "0.33333333349", 5: "0.20000000019", 7: "0.14285714272"} {
		if got := oneIn(n); !strings.HasSuffix(got, want) {
			t.Errorf("one in %d: %s, want %s", n, got, want)
		}
	}
}

var testHost = dataplane.Host{
	Host: vip.Host{
		Pods:         vip.Pods{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")}},
		NodePortAll4: true, NodePortAll6: true,
	},
	MasqueradeMark: 0x4000,
}

// tutorial is the Service of ten thousand tutorials: web, a ClusterIP, a NodePort, three pods.
func tutorial() *vip.Table {
	key := cluster.Key{Namespace: "default", Name: "web"}
	s := &cluster.Service{
		Key: key, Type: cluster.NodePort, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.12.34")},
		Ports: []cluster.ServicePort{{Number: 80, NodePort: 30009, Protocol: cluster.TCP}},
	}
	var pods []cluster.Endpoint
	for i, node := range []string{"node-1", "node-1", "node-2"} {
		pods = append(pods, cluster.Endpoint{
			Addr: netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", i/2+1, i+5)), Node: cluster.MakeAtom(node),
			Conditions: cluster.Ready | cluster.Serving,
		})
	}
	store := cluster.NewStore()
	store.Put(1, s, cluster.NewSlice(cluster.Key{Namespace: "default", Name: "web-abc"}, key, 1,
		[]cluster.Port{{Number: 8080, Protocol: cluster.TCP}}, pods))
	table := vip.NewTable()
	table.Set(key, vip.Build(store.Service("default", "web"), vip.Node{Name: cluster.MakeAtom("node-1"), Pods: testHost.Pods}))
	return table
}

// What the tutorial shows: iptables-save after it, by each backend.
func TestTutorial(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			d := open(t, tools)
			if err := d.Sync(t.Context(), testHost, tutorial()); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, table := range []string{nat, filter} {
				out, err := exec.Command(tools.Save, "-t", table).Output()
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, "*"+table)
				for line := range strings.Lines(string(out)) {
					if strings.HasPrefix(line, "-A ") {
						lines = append(lines, strings.TrimSpace(line))
					}
				}
			}
			golden(t, "tutorial-"+tools.Backend(), strings.Join(lines, "\n")+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), go test -update writes it anew:\n%s", file, diff)
	}
}

// What is there is found again, whichever way the program prints it: a second Sync writes
// nothing, and no comparison finds a difference.
func TestAdopts(t *testing.T) {
	for _, tools := range generations(t) {
		t.Run(tools.name, func(t *testing.T) {
			tools := tools.get(t)
			netlab.OwnNetwork(t)
			table := everything()
			d := open(t, tools)
			if err := d.Sync(t.Context(), testHost, table); err != nil {
				t.Fatal(err)
			}
			next := open(t, tools)
			if err := next.Sync(t.Context(), testHost, table); err != nil {
				t.Fatal(err)
			}
			for _, f := range next.families {
				if f.written != 0 {
					t.Errorf("%s was given %d lines, expected none", f.Restore, f.written)
				}
			}
			next.looks.whole.at = time.Time{}
			for _, look := range []string{"all rules", "shared chains"} { // in this order
				if ok, err := intact(next); !ok || err != nil {
					t.Errorf("%s intact: %v %v", look, ok, err)
				}
			}
		})
	}
}

// policiesOf are policies that frontends of a kind have.
func policiesOf(k vip.Kind) []vip.Policy {
	if k == vip.ClusterIP {
		return []vip.Policy{vip.ClusterPods, vip.ClusterMasquerade, vip.LocalPods, vip.LocalKeep, vip.RejectAll, vip.DropAll}
	}
	return []vip.Policy{vip.ClusterMasquerade, vip.ExternalLocal, vip.ExternalLocalNoPods, vip.ExternalLocalNoPodsDrop, vip.RejectAll, vip.ExternalLocalDrop}
}

// everything has a route of each kind and policy, in both families.
func everything() *vip.Table {
	table := vip.NewTable()
	b := func(s string, local bool) vip.Backend {
		return vip.Backend{AddrPort: netip.MustParseAddrPort(s), Local: local}
	}
	n := byte(0)
	for _, v4 := range []bool{true, false} {
		for i, kind := range []vip.Kind{vip.ClusterIP, vip.ExternalIP, vip.LoadBalancer, vip.NodePort} {
			for j, p := range policiesOf(kind) {
				n++
				key := cluster.Key{Namespace: "ns", Name: fmt.Sprintf("s%d", n)}
				r := &vip.Route{Kind: kind, Owner: vip.Owner{Service: key, Port: "a b"[:j%2]}, Policy: p, Affinity: uint32(j % 2 * 60)}
				r.Port, r.Protocol = uint16(80+i), []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP}[j%3]
				r.Addr = netip.AddrFrom4([4]byte{10, 96, 0, n})
				list := []vip.Backend{b("10.244.1.1:80", true), b("10.244.2.1:80", false), b("10.244.2.2:81", false)}
				if !v4 {
					r.Addr = netip.AddrFrom16([16]byte{0xfd, 0, 15: n})
					list = []vip.Backend{b("[fd00:10:244:1::1]:80", true), b("[fd00:10:244:2::1]:80", false)}
				}
				if kind == vip.NodePort {
					r.Addr, r.Port = map[bool]netip.Addr{true: vip.AnyNode4, false: vip.AnyNode6}[v4], 30000+uint16(n)
				}
				if p.LeadsTo(vip.Cluster) {
					r.Cluster = list
				}
				if p.LeadsTo(vip.Local) {
					r.Local = list[:1]
				}
				if kind == vip.LoadBalancer {
					r.Sources = []netip.Prefix{netip.PrefixFrom(r.Addr, 8).Masked(), netip.PrefixFrom(list[0].Addr(), 24).Masked()}
				}
				routes := []*vip.Route{r}
				if kind == vip.ClusterIP {
					routes = append(routes, &vip.Route{
						Frontend: vip.Frontend{Addr: r.Addr}, Kind: vip.OtherPorts, Owner: vip.Owner{Service: key},
						Policy: vip.RejectAll,
					})
				}
				slices.SortFunc(routes, func(a, b *vip.Route) int { return a.Compare(b.Frontend) })
				table.Set(key, routes)
			}
		}
	}
	return table
}

// Rules as text, for people who read them: all kinds and policies.
func TestRender(t *testing.T) {
	text, err := Render(testHost, everything())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "everything.txtar")
	got := txtar.Format(&txtar.Archive{Files: []txtar.File{{Name: "rules", Data: []byte(text)}}})
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), go test -update writes it anew:\n%s", file, diff)
	}
}
