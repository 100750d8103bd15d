package snapshot

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// town has one of everything.
func town() []cluster.Object {
	ip := netip.MustParseAddr
	web := cluster.Key{Namespace: "shop", Name: "web"}
	return []cluster.Object{
		&cluster.Namespace{Name: "shop"},
		&cluster.Service{
			Key: web, ClusterIPs: []netip.Addr{ip("10.96.0.1"), ip("fd00::1")},
			Ports:    []cluster.ServicePort{{Name: "http", Number: 80, NodePort: 30080, Protocol: cluster.TCP}},
			External: &cluster.External{IPs: []netip.Addr{ip("192.0.2.1")}},
		},
		cluster.NewSlice(cluster.Key{Namespace: "shop", Name: "web-1"}, web, 7, []cluster.Port{{Name: "http", Number: 8080, Protocol: cluster.TCP}}, []cluster.Endpoint{
			{Addr: ip("10.244.0.1"), Hostname: "web-0", Node: cluster.MakeAtom("n1"), Zone: cluster.MakeAtom("z1"), Conditions: cluster.Ready | cluster.Serving},
			{Addr: ip("10.244.0.1"), Hostname: "web-1", Conditions: cluster.Terminating, Pod: cluster.MakePodID("Pod", "shop", "web-1")},
			{Addr: ip("10.244.0.1"), Hostname: "web-2", Conditions: cluster.Ready | cluster.Additional, Pod: cluster.MakePodID("Pod", "shop", "web-2")},
			{Addr: ip("10.244.0.2")},
		}),
		&cluster.Pod{Key: cluster.Key{Namespace: "shop", Name: "web-0"}, Addrs: []netip.Addr{ip("10.244.0.1")}},
		&cluster.Node{Name: "n1", Addrs: []netip.Addr{ip("172.16.0.1")}, Zone: cluster.MakeAtom("z1")},
	}
}

// filled is a synced Store of these objects.
func filled(version uint64, objects ...cluster.Object) *cluster.Store {
	s := cluster.NewStore()
	s.Put(version, objects...)
	s.MarkSynced()
	return s
}
