package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

func sync(t testing.TB, d *Dataplane, host dataplane.Host, table *vip.Table) {
	t.Helper()
	if err := d.Sync(t.Context(), host, table); err != nil {
		t.Fatal(err)
	}
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// policiesOf are policies that frontends of a kind have.
func policiesOf(k vip.Kind) []vip.Policy {
	if k == vip.ClusterIP {
		return []vip.Policy{vip.ClusterPods, vip.ClusterMasquerade, vip.LocalPods, vip.RejectAll, vip.DropAll}
	}
	return []vip.Policy{vip.ClusterMasquerade, vip.ExternalLocal, vip.ExternalLocalNoPods, vip.RejectAll, vip.ExternalLocalDrop}
}

// everything has a route of each kind and policy, in both families.
func everything() *vip.Table {
	table := vip.NewTable()
	n := byte(0)
	for _, v4 := range []bool{true, false} {
		for i, kind := range []vip.Kind{vip.ClusterIP, vip.ExternalIP, vip.LoadBalancer, vip.NodePort} {
			for j, p := range policiesOf(kind) {
				n++
				key := cluster.Key{Namespace: "ns", Name: fmt.Sprintf("s%d", n)}
				r := &vip.Route{Kind: kind, Owner: vip.Owner{Service: key}, Policy: p, Affinity: uint32(j % 2 * 60)}
				r.Port, r.Protocol = uint16(80+i), []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP}[j%3]
				r.Scheduler = []string{"", "sh", "wlc", "mh"}[j%4]
				r.Addr = netip.AddrFrom4([4]byte{10, 96, 0, n})
				backends := []string{"10.244.1.1:80", "10.244.2.1:80", "10.244.2.2:81"}
				if !v4 {
					r.Addr = netip.AddrFrom16([16]byte{0xfd, 0, 15: n})
					backends = []string{"[fd00:10:244:1::1]:80", "[fd00:10:244:2::1]:80"}
				}
				if kind == vip.NodePort {
					r.Addr, r.Port = map[bool]netip.Addr{true: vip.AnyNode4, false: vip.AnyNode6}[v4], 30000+uint16(n)
				}
				var all []vip.Backend
				for b, text := range backends {
					all = append(all, vip.Backend{AddrPort: netip.MustParseAddrPort(text), Local: b == 0})
				}
				if p.LeadsTo(vip.Cluster) {
					r.Cluster = all
				}
				if p.LeadsTo(vip.Local) {
					r.Local = all[:1]
				}
				if kind == vip.LoadBalancer {
					r.Sources = []netip.Prefix{netip.MustParsePrefix("10.244.2.0/23"), netip.MustParsePrefix("192.0.2.7/32")}
					if !v4 {
						r.Sources = []netip.Prefix{netip.MustParsePrefix("2001:db8::/33"), netip.MustParsePrefix("fd00:10:244:2::/64")}
					}
				}
				table.Set(key, []*vip.Route{r})
			}
		}
	}
	return table
}

// What the tutorial shows: ipvsadm -L -n and ip addr after it.
func TestTutorial(t *testing.T) {
	ownNetwork(t)
	service, pods := web()
	sync(t, open(t, Options{}), testHost, tableOf(service, pods))
	list := output(t, "ipvsadm", "-L", "-n")
	head, servers, _ := strings.Cut(list, "\nTCP ")
	blocks := strings.SplitAfter("TCP "+strings.TrimRight(servers, " \n")+"\n", "\nTCP ") // in an order that varies
	for i := range blocks {
		blocks[i] = "TCP " + strings.TrimPrefix(strings.TrimSuffix(blocks[i], "TCP "), "TCP ")
	}
	slices.Sort(blocks)
	list = head + "\n" + strings.Join(blocks, "") + output(t, "ip", "-br", "addr", "show", "dev", linkName)
	golden(t, "ipvsadm", regexp.MustCompile(` +\n`).ReplaceAllString(list, "\n"))
}

// What is there is found again: a second Sync writes nothing. Weights that somebody changed stay.
func TestAdopts(t *testing.T) {
	ownNetwork(t)
	host := testHost
	host.NodePortAddrs = append(host.NodePortAddrs, netip.MustParseAddr("fd00:7::11"))
	table := everything()
	sync(t, open(t, Options{}), host, table)
	want, err := state()
	if err != nil {
		t.Fatal(err)
	}
	const changed = "-t 10.96.0.1:80 -r 10.244.2.1:80"
	output(t, "ipvsadm", append([]string{"-e", "-m", "-w", "7"}, strings.Fields(changed)...)...)
	next := open(t, Options{})
	sync(t, next, host, table)
	if n := [3]int{next.servers.written, next.link.written, next.companion.entries}; n != [3]int{} {
		t.Errorf("virtual servers, addresses and elements written: %v, expected none", n)
	}
	if got, err := state(); err != nil || got != strings.Replace(want, changed+" -m -w 1", changed+" -m -w 7", 1) {
		t.Errorf("%v; a Sync that should change nothing (-before +after):\n%s", err, cmp.Diff(want, got))
	}
	if ok, err := intact(next); !ok || err != nil {
		t.Errorf("intact: %v, %v", ok, err)
	}
	for _, flush := range [][]string{{"ipvsadm", "-C"}, {"nft", "flush", "ruleset"}, {"ip", "link", "delete", linkName}} {
		output(t, flush[0], flush[1:]...)
		if ok, err := intact(next); ok || err != nil {
			t.Errorf("intact after %v: %v, %v", flush, ok, err)
		}
		sync(t, next, host, table)
		if ok, err := intact(next); !ok || err != nil {
			t.Errorf("intact after %v and a Sync: %v, %v", flush, ok, err)
		}
		if got, err := state(); err != nil || strings.ReplaceAll(got, "-m -w 7", "-m -w 1") != want {
			t.Errorf("%v; after %v and a Sync (-want +got):\n%s", err, flush, cmp.Diff(want, got))
		}
	}
}

// Others' virtual servers stay where they are excluded, and go elsewhere.
func TestForeign(t *testing.T) {
	ownNetwork(t)
	for _, server := range []string{"192.0.2.1:80", "10.96.0.99:80"} {
		output(t, "ipvsadm", "-A", "-t", server, "-s", "wlc")
	}
	output(t, "ipvsadm", "-A", "-f", "5", "-s", "wlc")
	service, pods := web()
	o := Options{Exclude: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	sync(t, open(t, o), testHost, tableOf(service, pods))
	check := func(list string, there bool, words ...string) {
		t.Helper()
		for _, w := range words {
			if strings.Contains(list, w) != there {
				t.Errorf("%s: expected %v in\n%s", w, there, list)
			}
		}
	}
	list := output(t, "ipvsadm", "-S", "-n")
	check(list, true, "192.0.2.1:80", "-f 5 ", "10.96.12.34:80")
	check(list, false, "10.96.0.99:80")
	said, err := Cleanup(t.Context(), o)
	if err != nil || said == "" {
		t.Errorf("cleanup: %q, %v", said, err)
	}
	list = output(t, "ipvsadm", "-S", "-n") + output(t, "nft", "list", "ruleset") + output(t, "ip", "addr")
	check(list, true, "192.0.2.1:80", "-f 5 ")
	check(list, false, "10.96.12.34", tableName, linkName)
	if said, err := Cleanup(t.Context(), o); err != nil || said != "" {
		t.Errorf("second cleanup: %q, %v", said, err)
	}
}

// The kernel's settings are as the mode needs them.
func TestSettings(t *testing.T) {
	ownNetwork(t)
	o := Options{StrictARP: true, TCPTimeout: 20 * time.Minute, UDPTimeout: time.Minute}
	sync(t, open(t, o), testHost, vip.NewTable())
	for file, want := range map[string]string{
		"net/ipv4/vs/conntrack": "1", "net/ipv4/vs/expire_nodest_conn": "1", "net/ipv4/vs/expire_quiescent_template": "1",
		"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2",
	} {
		if got, err := os.ReadFile("/proc/sys/" + file); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, %v; expected %s", file, got, err, want)
		}
	}
	if list := output(t, "ipvsadm", "-L", "--timeout"); !strings.Contains(list, "1200 120 60") {
		t.Errorf("timeouts: %s", list)
	}
}

// Probe leaves nothing, and an error says what is missing.
func TestProbe(t *testing.T) {
	ownNetwork(t)
	if err := Probe(Options{}); err != nil {
		t.Error(err)
	}
	if left := output(t, "ipvsadm", "-S", "-n") + output(t, "nft", "list", "ruleset") + output(t, "ip", "-br", "link", "show", "type", "dummy"); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	err := Probe(Options{Scheduler: "fair"})
	if !errors.Is(err, dataplane.ErrNotSupported) || !strings.Contains(err.Error(), "ip_vs_fair") {
		t.Errorf("an unknown scheduler: %v", err)
	}
}

// On a kernel without IPVS the error names the module, and what would work.
func TestProbeWithout(t *testing.T) {
	if _, err := netlink.GenlFamilyGet("IPVS"); err == nil {
		t.Skip("this kernel has IPVS")
	} else if errors.Is(err, unix.EPERM) {
		t.Skip(err)
	}
	err := Probe(Options{})
	if !errors.Is(err, dataplane.ErrNotSupported) {
		t.Fatal(err)
	}
	for _, word := range []string{"ip_vs", "modprobe", "nftables", "iptables"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v: expected it to name %s", err, word)
		}
	}
}

// A Service may ask for a scheduler that the kernel does not have: it gets the usual one.
func TestUnknownScheduler(t *testing.T) {
	ownNetwork(t)
	service, pods := web()
	service.External = &cluster.External{Policy: cluster.Policy{Scheduler: "best"}}
	sync(t, open(t, Options{Scheduler: "wrr"}), testHost, tableOf(service, pods))
	if list := output(t, "ipvsadm", "-S", "-n"); !strings.Contains(list, "10.96.12.34:80 -s wrr") {
		t.Errorf("expected scheduler wrr:\n%s", list)
	}
}

// The sets of kube-proxy's mode go, others' stay. This needs no IPVS.
func TestCleanupKubeProxy(t *testing.T) {
	netlab.OwnNetwork(t)
	for _, name := range []string{"KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "KUBE-OTHERS", "others"} {
		if err := netlink.IpsetCreate(name, "hash:ip,port", netlink.IpsetCreateOptions{}); err != nil {
			t.Fatalf("make ipset %s: %v", name, err)
		}
	}
	removed, err := CleanupKubeProxy(t.Context())
	slices.Sort(removed)
	if err != nil || !slices.Equal(removed, []string{"KUBE-6-CLUSTER-IP", "KUBE-CLUSTER-IP"}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	left, err := netlink.IpsetListAll()
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A backend that the kernel does not take is its route's fault, and others get theirs.
func TestRefusedBackend(t *testing.T) {
	ownNetwork(t)
	service, pods := web()
	table := tableOf(service, pods)
	broken := &vip.Route{
		Frontend: vip.Frontend{Addr: netip.MustParseAddr("10.96.0.66"), Port: 80, Protocol: cluster.TCP},
		Owner:    vip.Owner{Service: cluster.Key{Namespace: "default", Name: "broken"}},
		Cluster:  []vip.Backend{{AddrPort: netip.MustParseAddrPort("255.255.255.255:80")}},
	}
	table.Set(broken.Owner.Service, []*vip.Route{broken})
	d := open(t, Options{})
	err := d.Sync(t.Context(), testHost, table)
	if refused, ok := errors.AsType[*dataplane.RouteError](err); !ok || refused.Route != broken {
		t.Errorf("%v; expected an error about %v", err, broken.Frontend)
	}
	if list := output(t, "ipvsadm", "-S", "-n"); !strings.Contains(list, "-a -t 10.96.12.34:80 -r 10.244.2.7:8080") {
		t.Errorf("the other Service:\n%s", list)
	}
	if _, err := d.Apply(t.Context(), table.Set(broken.Owner.Service, nil)); err != nil {
		t.Error(err)
	}
}

// A backend of UDP does not drain, also behind a firewall mark, which does not say what it is for: a client that
// goes on sending would be led to it for ever.
func TestDatagramsDoNotDrain(t *testing.T) {
	ownNetwork(t)
	r := &vip.Route{
		Frontend: vip.Frontend{Addr: netip.MustParseAddr("203.0.113.7"), Port: 53, Protocol: cluster.UDP},
		Kind:     vip.LoadBalancer, Owner: vip.Owner{Service: cluster.Key{Namespace: "default", Name: "dns"}},
	}
	r.Policy = vip.ExternalLocal
	for _, text := range []string{"10.244.1.1:53", "10.244.1.2:53"} {
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: netip.MustParseAddrPort(text), Local: true})
	}
	r.Local = r.Cluster
	table := vip.NewTable()
	table.Set(r.Owner.Service, []*vip.Route{r})
	d := open(t, Options{})
	sync(t, d, testHost, table)
	if list := output(t, "ipvsadm", "-S", "-n"); strings.Count(list, "-r 10.244.1.1:53 -m -w 1") != 2 || !strings.Contains(list, "-A -f ") {
		t.Fatalf("expected the backend in two virtual servers, one of them by a mark:\n%s", list)
	}
	next := *r
	next.Cluster = r.Cluster[1:]
	next.Local = next.Cluster
	due, err := d.Apply(t.Context(), table.Set(r.Owner.Service, []*vip.Route{&next}))
	if err != nil || time.Until(due) > answering {
		t.Fatalf("%v, the rest is due in %v, want at most %v", err, time.Until(due), answering)
	}
	for _, c := range []struct {
		name    string
		now     time.Time
		leaving int
		left    bool
	}{
		{"at once", due.Add(-answering), 2, true},
		{"when it is due", due.Add(answering), 0, false},
	} {
		state, err := d.Tick(t.Context(), c.now)
		if err != nil || state.Changed || state.Due.IsZero() == c.left {
			t.Errorf("%s: %+v, %v", c.name, state, err)
		}
		list := output(t, "ipvsadm", "-S", "-n")
		if strings.Count(list, "10.244.1.1:53 -m -w 0") != c.leaving || strings.Contains(list, "10.244.1.1:53 -m -w 1") || strings.Count(list, "10.244.1.2:53 -m -w 1") != 2 {
			t.Errorf("%s: want %d backends of weight 0:\n%s", c.name, c.leaving, list)
		}
	}
}
