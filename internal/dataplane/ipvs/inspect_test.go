package ipvs

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// What was written is as intended, for each kind of route; what somebody changed is told.
func TestInspect(t *testing.T) {
	ownNetwork(t)
	host := testHost
	host.NodePortAddrs = append(host.NodePortAddrs, netip.MustParseAddr("fd00:7::11"))
	table := everything()
	f := vip.Frontend{Addr: netip.MustParseAddr("10.96.0.1"), Port: 80, Protocol: cluster.TCP}
	inspect := func(f vip.Frontend) string {
		t.Helper()
		lines, err := Inspect(Options{}, host, table, f)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		return strings.Join(lines, "\n")
	}
	if _, err := Inspect(Options{}, host, table, f); !errors.Is(err, dataplane.ErrNoRules) {
		t.Errorf("before anything was written: %v", err)
	}
	d := open(t, Options{})
	sync(t, d, host, table)
	for r := range table.All() {
		if got := inspect(r.Frontend); !strings.HasSuffix(got, "\nas intended") || strings.Contains(got, "NOT") {
			t.Errorf("%v:\n%s", r, got)
		}
	}
	const well = "server -t 10.96.0.1:80 -s rr: 10.244.1.1:80 10.244.2.1:80 10.244.2.2:81\nin kube-ipvs0 masquerade-node masquerade-outside vips\nas intended"
	if got := inspect(f); got != well {
		t.Errorf("got\n%s\nwant\n%s", got, well)
	}
	other := f
	other.Port = 99
	if got := inspect(other); got != "in kube-ipvs0 vips\nas intended" {
		t.Errorf("a port that nobody serves:\n%s", got)
	}
	other.Addr = netip.MustParseAddr("10.96.0.250")
	if got := inspect(other); got != "in nothing\nas intended" {
		t.Errorf("an address that nobody has:\n%s", got)
	}

	for _, c := range []struct{ command, want string }{
		{"ipvsadm -d -t 10.96.0.1:80 -r 10.244.2.1:80", "server -t 10.96.0.1:80 lacks 10.244.2.1:80 and has nothing besides"},
		{"ipvsadm -E -t 10.96.0.1:80 -s sh", "server -t 10.96.0.1:80 has other settings than -s rr"},
		{"ipvsadm -D -t 10.96.0.1:80", "server -t 10.96.0.1:80 is missing"},
		{"ip addr delete 10.96.0.1/32 dev kube-ipvs0", "on kube-ipvs0 10.96.0.1 is to be: true"},
		{"nft delete element ip signpost-ipvs masquerade-node { 10.96.0.1 . tcp . 80 }", "1 elements of the sets differ"},
	} {
		words := strings.Fields(c.command)
		output(t, words[0], words[1:]...)
		if got := inspect(f); !strings.Contains(got, "\nNOT AS INTENDED: "+c.want) {
			t.Errorf("after %s:\n%s", c.command, got)
		}
		sync(t, d, host, table)
		if got := inspect(f); !strings.HasSuffix(got, "\nas intended") {
			t.Errorf("after %s and a Sync:\n%s", c.command, got)
		}
	}

	// The table has another route by now than the kernel.
	r := *table.Route(f)
	r.Cluster, r.Local, r.Scheduler = slices.Clone(r.Cluster[1:]), nil, "best"
	changes := table.Set(r.Owner.Service, []*vip.Route{&r})
	if got := inspect(f); !strings.Contains(got, "server -t 10.96.0.1:80 lacks nothing and has 10.244.1.1:80 besides") {
		t.Errorf("before the change is written:\n%s", got)
	}
	if _, err := d.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"in place of scheduler best: look whether the kernel has the module ip_vs_best", "\nas intended"} {
		if got := inspect(f); !strings.Contains(got, want) {
			t.Errorf("a scheduler that the kernel does not have: no %q in\n%s", want, got)
		}
	}
	output(t, "nft", "flush", "ruleset")
	if _, err := Inspect(Options{}, host, table, f); !errors.Is(err, dataplane.ErrNoRules) {
		t.Errorf("without the companion: %v", err)
	}
}
