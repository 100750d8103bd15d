package ipvs

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// runNFT runs the program.
func runNFT(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestCompanionInNFTsWords lists the companion with nft, which shows marks as they are and loads its listing. The entries
// are read back as written.
func TestCompanionInNFTsWords(t *testing.T) {
	netlab.OwnNetwork(t)
	c, err := openCompanion()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	host := dataplane.Host{MasqueradeMark: 0x4000}
	host.DropsUnused = true
	host.Pods.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:1::/64")}
	host.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/112")}
	for _, family := range []struct {
		v4            bool
		addr, clients string
	}{{true, "10.96.0.10", "192.0.2.0/25"}, {false, "fd00:96::10", "2001:db8::/33"}} {
		elements := map[element]uint32{}
		for _, s := range sets() {
			e := element{set: s.name, place: vip.Frontend{Addr: netip.MustParseAddr(family.addr), Port: 53, Protocol: cluster.UDP}}
			if s.ranges {
				e.source = netip.MustParsePrefix(family.clients)
			}
			elements[e] = 0
			if s.isMap {
				elements[e] = markTag | 1
			}
		}
		l, wanted := newLayout(&host, family.v4), entries(elements)
		first, _ := diffEntries(nil, wanted)
		if err := c.make(l, first.put); err != nil {
			t.Fatal(err)
		}
		have, there, err := c.find(l)
		if err != nil || !there {
			t.Fatalf("the table is there: %v, %v", there, err)
		}
		more, less := diffEntries(have, wanted)
		if n := len(more.put) + len(more.drop) + len(less.drop); n > 0 {
			t.Errorf("%d entries are read other than written", n)
		}
	}
	rules := runNFT(t, "", "list", "ruleset")
	for _, want := range []string{"udp . 53 : 0x53000001", "ct original ip daddr != @vips", "ct original ip6 daddr != @vips"} {
		if !strings.Contains(rules, want) {
			t.Errorf("nft does not show %q:\n%s", want, rules)
		}
	}
	runNFT(t, "flush ruleset\n"+rules, "-f", "-")
	if again := runNFT(t, "", "list", "ruleset"); again != rules {
		t.Errorf("loaded again it is\n%s\nwant\n%s", again, rules)
	}
}
