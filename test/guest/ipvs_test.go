package guest_test

import (
	"slices"
	"testing"

	"github.com/signpost-dns/signpost/test/guest"
)

// ipvsPrograms and ipvsModules are what tests of mode ipvs need in the guest.
var (
	ipvsPrograms = []string{"ipvsadm", "ip", "nft"}
	ipvsModules  = append([]string{
		"dummy", "ip_set_hash_ipport", "ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sh", "ip_vs_dh", "ip_vs_sed", "ip_vs_nq", "ip_vs_mh",
		"nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_fib", "nft_fib_ipv4", "nft_fib_ipv6",
		"nft_reject_ipv4", "nft_reject_ipv6", "nft_reject_inet", "nft_nat",
	}, network...)
)

// TestIPVS runs the tests of mode ipvs on the distribution's kernel: few others have IPVS.
func TestIPVS(t *testing.T) {
	inGuest(t, guest.Test{
		Package:  "github.com/signpost-dns/signpost/internal/dataplane/ipvs",
		Args:     []string{"-test.v", "-test.timeout=10m"},
		Trees:    map[string]string{"/test/testdata": "../../internal/dataplane/ipvs/testdata"},
		Programs: ipvsPrograms,
		Modules:  ipvsModules,
	}, cannot...)
}

// TestIPVSForwarder runs the forwarder in mode ipvs under load: it is killed, its backends are replaced, and its
// mode changes. A hostPort of a CNI and an address of another node do not interfere.
func TestIPVSForwarder(t *testing.T) {
	modules, trees := xtables(t)
	inGuest(t, guest.Test{
		Package:  "github.com/signpost-dns/signpost/cmd/forwarder",
		Args:     []string{"-test.v", "-test.run=^(TestRollingReplacement|TestKilledUnderLoad|TestHostPort|TestExternalIPOfAnotherNode|TestLocalhostNodePorts)$/^ipvs$|^TestFlowsToFrontendsThatWent$/^ipvs_to_ipvs$|^TestModeSwitchUnderLoad$|^TestExplainIPVS$", "-test.timeout=10m"},
		Programs: append([]string{"iptables"}, ipvsPrograms...),
		Trees:    trees,
		Modules:  slices.Concat([]string{"nft_numgen", "nft_hash", "nft_redir", "nft_limit"}, modules, ipvsModules),
	})
}

// TestIPVSModules loads no module of mode ipvs before it is needed, as a node does that nobody prepared, and gives the
// forwarder the rights that the manifests give it.
func TestIPVSModules(t *testing.T) {
	inGuest(t, guest.Test{
		Package:  "github.com/signpost-dns/signpost/cmd/forwarder",
		Args:     []string{"-test.v", "-test.run=^TestRightsIPVS$", "-test.timeout=5m"},
		Programs: append([]string{"setpriv"}, ipvsPrograms...),
		Modules:  network,
		OnDemand: ipvsModules,
	})
}

// cannot are the scenarios of what IPVS cannot do.
var cannot = []string{
	"a_client_stays,_whichever_frontend_it_dials", "a_client_stays_with_what_its_policy_lets_it_have", // needs shared-affinity
	"a_client_that_stays_away_is_forgotten", // needs short-affinity
	"TestProbeWithout",
	"other_ports_of_these_addresses_are_untouched", "they_are_untouched_where_it_is_known_which_ClusterIPs_there_can_be", // needs other-ports
}
