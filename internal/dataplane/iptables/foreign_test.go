package iptables

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// What other programs and administrators do to our rules is seen, and repaired by one Sync.
func TestForeignChanges(t *testing.T) {
	for _, g := range generations(t) {
		t.Run(g.name, func(t *testing.T) {
			tools := g.get(t)
			flush := "nft flush ruleset"
			if tools.Backend() == "legacy" { // nft does not see its tables
				flush = "IPTABLES -t nat -F; IPTABLES -t nat -X; IPTABLES -t filter -F; IPTABLES -t filter -X"
			}
			for _, c := range []struct {
				name, script string
				whole        bool // only the comparison of all rules sees it
			}{
				{"flush of everything", flush, false},
				{"flush of the table", "IPTABLES -t nat -F", false},
				{"flush of the table with its chains", "IPTABLES -t nat -F; IPTABLES -t nat -X", false},
				{"flush of the top chain", "IPTABLES -t nat -F KUBE-SERVICES", false},
				{"rule of the top chain", "IPTABLES -t nat -D KUBE-SERVICES 1", false},
				{"jumps", "IPTABLES -t nat -D OUTPUT 1; IPTABLES -t nat -D PREROUTING 1", false},
				{"jumps to the filter", "IPTABLES -t filter -F FORWARD", false},
				{"policy and another program's rule", "IPTABLES -P FORWARD DROP; IPTABLES -I FORWARD -j ACCEPT; IPTABLES -t filter -F KUBE-FORWARD", false},
				{"flush of a Service's chain", "IPTABLES -t nat -F $(IPTABLES -t nat -S | sed -n 's/^-N \\(KUBE-SVC-.*\\)/\\1/p' | head -n 1)", true},
			} {
				t.Run(c.name, func(t *testing.T) {
					netlab.OwnNetwork(t)
					d := open(t, tools)
					if err := d.Sync(t.Context(), testHost, everything()); err != nil {
						t.Fatal(err)
					}
					before, err := rulesOf(tools)
					if err != nil {
						t.Fatal(err)
					}
					if ok, err := intact(d); !ok || err != nil {
						t.Fatalf("before the change: intact %v, %v", ok, err)
					}
					script := strings.ReplaceAll(c.script, "IPTABLES", tools.Iptables+" -w")
					if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
						t.Fatalf("%s: %v\n%s", script, err, out)
					}
					d.looks.shared = look{} // it was long ago
					if c.whole {
						d.looks.whole = look{}
					}
					if ok, err := intact(d); ok || err != nil {
						t.Errorf("after the change: intact %v, %v", ok, err)
					}
					if err := d.Sync(t.Context(), testHost, everything()); err != nil {
						t.Fatal(err)
					}
					after, err := rulesOf(tools)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(before, after); diff != "" {
						t.Errorf("after the repair (-before +after):\n%s", diff)
					}
					if ok, err := intact(d); !ok || err != nil {
						t.Errorf("after the repair: intact %v, %v", ok, err)
					}
				})
			}
		})
	}
}

// Between two looks at the shared chains Tick looks at the canaries alone, which needs less.
func TestTickLooksByPeriod(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			d, err := Open(Options{Tools: tools, SyncPeriod: time.Hour})
			if err == nil {
				err = d.Sync(t.Context(), testHost, everything())
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				change string
				intact bool
			}{
				{"-F KUBE-SERVICES", true}, {"-F", false},
			} {
				d.looks.canaries = look{}
				args := append([]string{"-w", "-t", nat}, strings.Fields(c.change)...)
				if out, err := exec.Command(tools.Iptables, args...).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if ok, err := intact(d); ok != c.intact || err != nil {
					t.Errorf("after %s: intact %v, %v; want %v", c.change, ok, err, c.intact)
				}
			}
		})
	}
}

// rulesOf is state without what is not ours.
func rulesOf(tools Tools) (string, error) {
	text, err := state(tools)
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "KUBE-") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, ""), err
}

// What the kernel has is found again, by whichever programs it was written.
func TestFrontends(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			if got, err := Frontends(); err != nil || len(got) > 0 {
				t.Errorf("of nothing: %v, %v", got, err)
			}
			table := everything()
			if err := open(t, tools).Sync(t.Context(), testHost, table); err != nil {
				t.Fatal(err)
			}
			var want []vip.Frontend
			for r := range table.All() {
				if r.Kind != vip.OtherPorts && r.Policy.Forwards() {
					want = append(want, r.Frontend)
				}
			}
			got, err := Frontends()
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, vip.Frontend.Compare)
			slices.SortFunc(want, vip.Frontend.Compare)
			if !slices.Equal(slices.Compact(got), want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
}
