package nftables

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// kubeProxyMaps are the maps of kube-proxy that a packet's frontend is looked up in.
const kubeProxyMaps = `
table ip kube-proxy {
	chain service-AAAAAAAA-default/dns/udp/dns { drop; }
	chain external-AAAAAAAA-default/dns/udp/dns { drop; }
	set cluster-ips { type ipv4_addr; elements = { 192.0.2.7 }; }
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 192.0.2.7 . udp . 53 : goto service-AAAAAAAA-default/dns/udp/dns }
	}
	map service-nodeports {
		type inet_proto . inet_service : verdict
		elements = { udp . 30999 : goto external-AAAAAAAA-default/dns/udp/dns }
	}
}
`

// What the kernel has is found by whoever asks, also beside the process that owns the table.
func TestFrontends(t *testing.T) {
	netlab.OwnNetwork(t)
	if got, err := Frontends(); err != nil || len(got) > 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	table := mixedTable()
	mustSync(t, open(t, owned), table)
	mustNFT(t, kubeProxyMaps, "-f", "-")
	want := []vip.Frontend{
		{Addr: addr("192.0.2.7"), Port: 53, Protocol: cluster.UDP}, {Addr: vip.AnyNode4, Port: 30999, Protocol: cluster.UDP},
	}
	for r := range table.All() {
		if r.Kind != vip.OtherPorts {
			want = append(want, r.Frontend)
		}
	}
	got, err := Frontends()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, vip.Frontend.Compare)
	slices.SortFunc(want, vip.Frontend.Compare)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b vip.Frontend) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
