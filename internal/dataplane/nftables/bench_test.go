package nftables

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/signpost-dns/signpost/internal/vip"
)

// sizes are the numbers of Services, of five backends each.
var sizes = []int{1_000, 10_000, 50_000}

// BenchmarkInstall fills the tables of an empty host.
func BenchmarkInstall(b *testing.B) {
	for _, n := range sizes {
		b.Run("services="+strconv.Itoa(n), func(b *testing.B) {
			ownNetwork(b)
			table := testTable(n, 5)
			for b.Loop() {
				b.StopTimer()
				d := open(b, shared)
				for _, f := range families {
					if err := d.conn.deleteTable(f, tableName); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				mustSync(b, d, table)
				b.StopTimer()
				d.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkAdopt reads the tables of the host and finds nothing to do.
func BenchmarkAdopt(b *testing.B) {
	for _, n := range sizes {
		b.Run("services="+strconv.Itoa(n), func(b *testing.B) {
			ownNetwork(b)
			table := testTable(n, 5)
			d := open(b, shared)
			mustSync(b, d, table)
			for b.Loop() {
				mustSync(b, d, table)
			}
		})
	}
}

// BenchmarkChange changes the backends of one Service among many.
func BenchmarkChange(b *testing.B) {
	changes := []struct {
		name     string
		from, to func(r *vip.Route)
	}{
		{"replace", resize(5), func(r *vip.Route) {
			r.Backends[2] = vip.Backend{AddrPort: testRoute(1_000_000, 1).Backends[0].AddrPort}
			sortBackends(r.Backends)
		}},
		{"5to6", resize(5), resize(6)}, // inside a class
		{"4to5", resize(4), resize(5)}, // from one class to the next
	}
	for _, c := range changes {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/services=%d", c.name, n), func(b *testing.B) {
				ownNetwork(b)
				table := testTable(n, 5)
				d := open(b, shared)
				mustSync(b, d, table)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					i++
					r := testRoute(n/2, 5)
					c.from(r)
					if i%2 == 0 {
						c.to(r)
					}
					mustApply(b, d, table.Set(r.Owner.Service, []*vip.Route{r}))
				}
			})
		}
	}
}

// resize gives a route so many backends.
func resize(n int) func(*vip.Route) {
	return func(r *vip.Route) { r.Backends = testRoute(int(r.Created), n).Backends }
}
