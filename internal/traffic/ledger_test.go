package traffic

import (
	"maps"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

func key(namespace, name string) cluster.Key { return cluster.Key{Namespace: namespace, Name: name} }

func TestCounts(t *testing.T) {
	web := vip.Owner{Service: key("shop", "web"), Port: "http"}
	for _, c := range []struct {
		name  string
		list  []cluster.Key
		route *vip.Route
		want  bool
	}{
		{"by name", []cluster.Key{key("shop", "web")}, &vip.Route{Owner: web}, true},
		{"another name", []cluster.Key{key("shop", "db")}, &vip.Route{Owner: web}, false},
		{"another namespace", []cluster.Key{key("bank", "web")}, &vip.Route{Owner: web}, false},
		{"all of a namespace", []cluster.Key{key("shop", Everything)}, &vip.Route{Owner: web}, true},
		{"all of another namespace", []cluster.Key{key("bank", Everything)}, &vip.Route{Owner: web}, false},
		{"a name in any namespace", []cluster.Key{key(Everything, "web")}, &vip.Route{Owner: web}, true},
		{"everything", []cluster.Key{key(Everything, Everything)}, &vip.Route{Owner: web}, true},
		{"nothing", nil, &vip.Route{Owner: web}, false},
		{"no route", []cluster.Key{key("shop", "web")}, nil, false},
		{"the rest of an address", []cluster.Key{key("shop", "web")}, &vip.Route{Owner: web, Kind: vip.OtherPorts}, false},
		{"a port for health checks", []cluster.Key{key("shop", "web")}, &vip.Route{Owner: web, Kind: vip.HealthCheck}, false},
		{"a NodePort", []cluster.Key{key("shop", "web")}, &vip.Route{Owner: web, Kind: vip.NodePort}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newLedger(c.list).counts(c.route); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
}

// slow are the places of a table, without any memory of how it came about.
func slow(l *ledger, table *vip.Table) map[place]series {
	all := map[place]series{}
	for r := range table.All() {
		if !l.counts(r) {
			continue
		}
		if !r.IsNodePort() {
			all[place{r.Addr, r.Protocol, r.Port}] = series{r.Owner, r.Kind}
			continue
		}
		for _, a := range l.nodeAddrs {
			p := place{a, r.Protocol, r.Port}
			if _, taken := all[p]; a.Is4() == r.Addr.Is4() && (!taken || all[p].kind == vip.NodePort) {
				all[p] = series{r.Owner, r.Kind}
			}
		}
	}
	return all
}

// However routes and addresses come and go, the places are those of the routes that there are,
// and whatever is another than before was told.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, table := newLedger([]cluster.Key{key("shop", Everything), key("bank", "web")}), vip.NewTable()
		addrs := []netip.Addr{netip.MustParseAddr("10.96.0.2"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1")}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			before := maps.Clone(l.places)
			var touched []place
			if rapid.IntRange(0, 4).Draw(t, "move") == 0 {
				touched = l.move(addrs[:rapid.IntRange(0, len(addrs)).Draw(t, "addresses")])
			} else {
				service := key(rapid.SampledFrom([]string{"shop", "bank", "else"}).Draw(t, "namespace"), rapid.SampledFrom([]string{"web", "db"}).Draw(t, "name"))
				touched = l.change(table.Set(service, drawRoutes(t, service)))
			}
			if want := slow(l, table); !maps.Equal(l.places, want) {
				t.Fatalf("places %v, want %v", l.places, want)
			}
			told := map[place]bool{}
			for _, p := range touched {
				told[p] = true
			}
			for _, side := range []map[place]series{before, l.places} {
				for p := range side {
					if before[p] != l.places[p] && !told[p] {
						t.Fatalf("%v went from %v to %v, and was not told", p, before[p], l.places[p])
					}
				}
			}
		}
	})
}

func drawRoutes(t *rapid.T, service cluster.Key) []*vip.Route {
	var list []*vip.Route
	for n := range rapid.IntRange(0, 2).Draw(t, "routes") {
		r := &vip.Route{Owner: vip.Owner{Service: service, Port: "http"}, Created: int64(len(service.Namespace))}
		r.Addr = netip.AddrFrom4([4]byte{10, 96, 0, byte(rapid.IntRange(1, 2).Draw(t, "address"))})
		if n == 1 {
			r.Kind, r.Addr = vip.NodePort, rapid.SampledFrom([]netip.Addr{vip.AnyNode4, vip.AnyNode6}).Draw(t, "family")
		}
		r.Port, r.Protocol = uint16(rapid.IntRange(80, 81).Draw(t, "port")), cluster.TCP
		list = append(list, r)
	}
	return list
}
