package cluster_test

import (
	"fmt"
	"net/netip"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// A test of another package fills a Store in three lines and hands it over as
// what it is: there is no interface between and no mock.
func Example() {
	store := cluster.NewStore()
	store.Put(1, &cluster.Service{Key: cluster.Key{Namespace: "default", Name: "web"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}})
	store.MarkSynced()

	fmt.Println(store.Service("default", "web").Service.ClusterIPs, store.Namespace("default"), store.Synced())
	// Output: [10.96.0.1] true true
}

// A Service without ClusterIP and its endpoints, in one Put: readers see both
// or neither.
func ExampleStore_Put() {
	web := cluster.Key{Namespace: "default", Name: "web"}
	store := cluster.NewStore()
	store.Put(1, &cluster.Service{Key: web, Headless: true},
		cluster.NewSlice(cluster.Key{Namespace: "default", Name: "web-x7k2p"}, web, 1,
			[]cluster.Port{{Name: "http", Number: 8080, Protocol: cluster.TCP}},
			[]cluster.Endpoint{
				{Addr: netip.MustParseAddr("10.0.0.1"), Hostname: "web-0", Conditions: cluster.Ready | cluster.Serving},
				{Addr: netip.MustParseAddr("10.0.0.2"), Hostname: "web-1", Conditions: cluster.Serving | cluster.Terminating},
			}))

	for ep, ports := range store.Service("default", "web").Endpoints() {
		fmt.Println(ep.Hostname, ep.Addr, ports[0].Number, ports[0].Protocol, ep.Has(cluster.Ready))
	}
	// Output:
	// web-0 10.0.0.1 8080 tcp true
	// web-1 10.0.0.2 8080 tcp false
}

// The Services behind an address, as a PTR query asks for them.
func ExampleStore_Owners() {
	store := cluster.NewStore()
	store.Put(1, &cluster.Service{Key: cluster.Key{Namespace: "default", Name: "web"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}})

	for o := store.Owners(netip.MustParseAddr("10.96.0.1")); o.Valid(); o = o.Next() {
		if entry := o.Entry(); entry != nil {
			fmt.Println(entry.Service.Key)
		}
	}
	// Output: default/web
}

// An inner node of a reverse zone exists if any address below it does.
func ExampleStore_HasAddressIn() {
	store := cluster.NewStore()
	store.Put(1, &cluster.Service{Key: cluster.Key{Namespace: "default", Name: "web"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}})

	fmt.Println("0.96.10.in-addr.arpa:", store.HasAddressIn(netip.MustParsePrefix("10.96.0.0/24")))
	fmt.Println("1.96.10.in-addr.arpa:", store.HasAddressIn(netip.MustParsePrefix("10.96.1.0/24")))
	// Output:
	// 0.96.10.in-addr.arpa: true
	// 1.96.10.in-addr.arpa: false
}

// A fresh list replaces what is there of a kind.
func ExampleStore_Replace() {
	store := cluster.NewStore()
	store.Put(1, &cluster.Namespace{Name: "old"})
	store.Replace(2, cluster.KindNamespace, []cluster.Object{&cluster.Namespace{Name: "default"}})

	for name := range store.Namespaces() {
		fmt.Println(name, store.Count(cluster.KindNamespace), store.Version())
	}
	// Output: default 1 2
}

// A subscriber is woken and asks what changed.
func ExampleStore_Subscribe() {
	store := cluster.NewStore()
	changes := store.Subscribe()
	store.Put(1, &cluster.Service{Key: cluster.Key{Namespace: "default", Name: "web"}})

	<-changes.Wake()
	for _, ref := range changes.Take() {
		fmt.Println(ref.Kind, ref.Key)
	}
	// Output: services default/web
}
