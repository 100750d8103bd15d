package iptables

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// TestLoopback asks a NodePort at 127.0.0.1, which this mode alone serves: a process of the node is
// answered by a pod, which sees the node's address; without the setting nobody is there.
func TestLoopback(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			lab := netlab.New(t, netlab.Config{Nodes: 1})
			node := lab.Node(1)
			pod, err := node.AddPod("pod")
			if err == nil {
				_, err = pod.Echo(8080)
			}
			if err == nil {
				err = node.Sysctl("net.ipv4.conf.all.route_localnet", "1") // as forwarder does
			}
			if err != nil {
				t.Fatal(err)
			}
			r := &vip.Route{
				Frontend: vip.Frontend{Addr: vip.AnyNode4, Port: 30009, Protocol: cluster.TCP}, Kind: vip.NodePort,
				Owner:   vip.Owner{Service: cluster.Key{Namespace: "default", Name: "web"}},
				Cluster: []vip.Backend{{AddrPort: netip.AddrPortFrom(pod.IPv4, 8080), Local: true}},
			}
			r.Policy = vip.ClusterMasquerade
			table := vip.NewTable()
			table.Set(r.Owner.Service, []*vip.Route{r})
			for _, loopback := range []bool{true, false} {
				host := dataplane.Host{MasqueradeMark: 0x4000, Host: vip.Host{NodePortAll4: true, NodePortLoopback: loopback}}
				if err := node.Do(func() error { return open(t, tools).Sync(t.Context(), host, table) }); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				reply, err := node.Ask(ctx, "tcp", netip.MustParseAddrPort("127.0.0.1:30009"))
				cancel()
				switch {
				case loopback && (err != nil || reply.Server != "pod" || reply.Client.Addr().IsLoopback()):
					t.Errorf("asked at 127.0.0.1: %+v, %v; want the pod, which sees an address of the node", reply, err)
				case !loopback && err == nil:
					t.Errorf("asked at 127.0.0.1 without the setting: %+v", reply)
				}
				ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
				if reply, err := lab.Outside.Ask(ctx, "tcp", netip.AddrPortFrom(node.IPv4, 30009)); err != nil || reply.Server != "pod" {
					t.Errorf("asked at the node's address: %+v, %v", reply, err)
				}
				cancel()
			}
		})
	}
}
