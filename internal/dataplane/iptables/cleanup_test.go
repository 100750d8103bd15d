package iptables

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// Nothing of ours stays, and all of others' does.
func TestCleanup(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			f := family{Tools: tools, v4: true}
			others := "*nat\n:OTHERS - [0:0]\n-A OTHERS -d 192.0.2.1/32 -j RETURN\n-A PREROUTING -j OTHERS\nCOMMIT\n" +
				"*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -d 192.0.2.2/32 -j DROP\n-A INPUT -j KUBE-FIREWALL\nCOMMIT\n"
			ofPeer := "*filter\n:KUBE-IPVS-FILTER - [0:0]\n:KUBE-NODE-PORT - [0:0]\n-A KUBE-IPVS-FILTER -d 192.0.2.3/32 -j REJECT\n" +
				"-A INPUT -j KUBE-IPVS-FILTER\n-A INPUT -j KUBE-NODE-PORT\nCOMMIT\n"
			if _, err := run(t.Context(), []byte(others), f.Restore, "--noflush"); err != nil {
				t.Fatal(err)
			}
			before, err := f.save(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := run(t.Context(), []byte(ofPeer), f.Restore, "--noflush"); err != nil {
				t.Fatal(err)
			}
			if err := open(t, tools).Sync(t.Context(), testHost, everything()); err != nil {
				t.Fatal(err)
			}
			n, err := Cleanup(t.Context())
			if err != nil || n == 0 {
				t.Fatalf("%d chains removed, %v", n, err)
			}
			for _, v4 := range []bool{true, false} {
				f := family{Tools: tools.of(v4), v4: v4}
				after, err := f.save(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for c, rules := range after {
					if ours(c) || strings.Contains(strings.Join(rules, " "), "KUBE-SERVICES") {
						t.Errorf("left: %s %s %v", c.table, c.name, rules)
					}
					if v4 && !alike(rules, before[c]) {
						t.Errorf("%s %s was %v, is %v", c.table, c.name, before[c], rules)
					}
				}
			}
			if out, err := exec.Command(tools.Save).Output(); err != nil || !strings.Contains(string(out), "-A OTHERS") {
				t.Errorf("the rules of others: %v\n%s", err, out)
			}
		})
	}
}

// Of the backend that a dataplane does not use nothing of a proxy stays, and all of its own.
func TestCleanupOther(t *testing.T) {
	list := installed(t)
	for i, tools := range list {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			other := list[1-i]
			if err := open(t, other).Sync(t.Context(), testHost, tutorial()); err != nil {
				t.Fatal(err)
			}
			d := open(t, tools)
			if err := d.Sync(t.Context(), testHost, everything()); err != nil {
				t.Fatal(err)
			}
			if n, err := d.CleanupOther(t.Context()); err != nil || n == 0 {
				t.Errorf("%d chains removed, %v", n, err)
			}
			if left, err := state(other); err != nil || strings.Contains(left, "KUBE-") {
				t.Errorf("left of %s, %v:\n%s", other.Backend(), err, left)
			}
			d.looks.whole = look{}
			if ok, err := intact(d); !ok || err != nil {
				t.Errorf("the rules of %s: intact %v, %v", tools.Backend(), ok, err)
			}
		})
	}
}
