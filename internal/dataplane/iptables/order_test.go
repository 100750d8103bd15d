package iptables

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A client gets no reset for a Service whose rules are written in part: at the first start, and for
// a Service that is new.
func TestNoResetWhileWriting(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			node := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
			client, err := node.AddPod("client")
			if err != nil {
				t.Fatal(err)
			}
			pod, err := node.AddPod("pod")
			if err == nil {
				_, err = pod.Echo(8080)
			}
			if err != nil {
				t.Fatal(err)
			}
			host := dataplane.Host{MasqueradeMark: 0x4000}
			rules := newRuleset(&host, true, false)
			f := family{Tools: tools, v4: true, rules: rules}
			table := vip.NewTable()
			first, second := closed("first", "10.96.0.10", pod), closed("second", "10.96.0.11", pod)
			rules.change(table.Set(first[0].Owner.Service, first))
			write(t, node, f, rules.repair(listing{}, rules.tables()), client, "10.96.0.10:80")
			s := script{}
			for g, was := range rules.change(table.Set(second[0].Owner.Service, second)) {
				s.pieces(was, rules.pieces[g])
			}
			write(t, node, f, s, client, "10.96.0.11:80")
		})
	}
}

// closed is a Service with a port that the pod serves. All other ports are refused.
func closed(name, addr string, pod *netlab.Host) []*vip.Route {
	owner := vip.Owner{Service: cluster.Key{Namespace: "default", Name: name}}
	port := &vip.Route{
		Frontend: vip.Frontend{Addr: netip.MustParseAddr(addr), Port: 80, Protocol: cluster.TCP}, Owner: owner,
		Cluster: []vip.Backend{{AddrPort: netip.AddrPortFrom(pod.IPv4, 8080), Local: true}},
	}
	rest := &vip.Route{Frontend: vip.Frontend{Addr: port.Addr}, Kind: vip.OtherPorts, Owner: owner, Policy: vip.RejectAll}
	return []*vip.Route{rest, port}
}

// write restores a script up to each of its commits, and has the client ask after each.
func write(t *testing.T, node *netlab.Node, f family, s script, client *netlab.Host, at string) {
	t.Helper()
	commits := 0
	for part := range strings.SplitAfterSeq(s.String(), "COMMIT\n") {
		if part == "" {
			continue
		}
		commits++
		if err := node.Do(func() error {
			_, err := run(t.Context(), []byte(part), f.Restore, "--noflush", "-w", "5")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		reply, err := client.Ask(ctx, "tcp", netip.MustParseAddrPort(at))
		cancel()
		if err != nil || reply.Server != "pod" {
			t.Errorf("after %d commits %s answered %+v, %v", commits, at, reply, err)
		}
	}
	if commits != 2 {
		t.Errorf("%d commits, want one of nat and one of filter", commits)
	}
}
