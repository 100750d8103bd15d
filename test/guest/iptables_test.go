package guest_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/signpost-dns/signpost/test/guest"
)

// whole asks for all scenarios where a part will do: a program that is started for each
// rule takes its time in an emulated machine.
var whole = flag.Bool("whole", false, "play all packet scenarios of mode iptables, for five minutes")

// TestIPTables plays packet scenarios of mode iptables on the distribution's kernel, by the
// backend that Debian has by default: those of SCTP, which are played nowhere else, and of ranges.
func TestIPTables(t *testing.T) {
	scenarios := "/^(sctp|sources)$"
	if *whole {
		scenarios = ""
	}
	modules, trees := xtables(t)
	inGuest(t, guest.Test{
		Package: "github.com/signpost-dns/signpost/internal/dataplane/iptables",
		Args:    []string{"-test.v", "-test.run=^TestConformance$/^nft$/^scenarios$" + scenarios, "-test.timeout=10m"},
		Programs: []string{
			"iptables-nft", "iptables-nft-save", "iptables-nft-restore", "ip6tables-nft", "ip6tables-nft-save", "ip6tables-nft-restore",
			"iptables-legacy-save",
		},
		Trees:   trees,
		Modules: append(modules, network...),
	})
}

// xtables are what iptables-nft needs in the guest: modules of the kernel, and its own, which are files.
func xtables(t testing.TB) (modules []string, trees map[string]string) {
	t.Helper()
	dirs, err := filepath.Glob("/usr/lib/*/xtables")
	if err != nil || len(dirs) != 1 {
		t.Skipf("the modules of iptables: %q, %v (apt-get install iptables)", dirs, err)
	}
	return []string{
		"nf_tables", "nft_chain_nat", "nft_nat", "nft_ct", "nft_masq", "nft_compat", "xt_comment", "xt_statistic", "xt_conntrack", "xt_addrtype",
		"xt_mark", "xt_nat", "xt_MASQUERADE", "xt_recent", "xt_tcpudp", "xt_sctp", "ipt_REJECT", "ip6t_REJECT", "nft_reject_ipv4", "nft_reject_ipv6",
	}, map[string]string{dirs[0]: dirs[0]}
}
