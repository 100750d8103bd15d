package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/vip"
)

// nowhere is a dataplane without a kernel, for what the agent itself costs.
type nowhere struct{}

func (nowhere) Sync(context.Context, dataplane.Host, *vip.Table) error { return nil }
func (nowhere) Apply(context.Context, []vip.Change) (time.Time, error) { return time.Time{}, nil }
func (nowhere) Tick(context.Context, time.Time) (dataplane.State, error) {
	return dataplane.State{}, nil
}
func (nowhere) Close() error                         { return nil }
func (nowhere) Clean([]netip.Addr, []conntrack.Keep) {}

// loaded is an agent that has so many Services, each with five endpoints and every
// tenth of UDP; toggle changes an endpoint of one of them in the Store, and follow brings
// it to the dataplane.
func loaded(t testing.TB, services int) (toggle, follow func()) {
	store := cluster.NewStore()
	objects := make([]cluster.Object, 0, 2*services)
	for i := range services {
		svc := numbered(i)
		objects = append(objects, svc, slice(svc, pods(i, 5)...))
	}
	store.Put(1, objects...)
	a := New(Options{
		Store: store, Dataplane: nowhere{}, Machine: &machine{}, Flows: nowhere{}, Log: slog.New(slog.DiscardHandler),
		Health: healthcheck.NewHealth(time.Minute), Metrics: NewMetrics(prometheus.NewRegistry(), names), NodeName: "node-1", MasqueradeMark: 1,
	})
	changes := a.changes
	a.refreshNode()
	a.take(changes.Take(), true)
	if err := a.sync(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	one, addrs := numbered(services/2), pods(services/2, 6)
	version := uint64(1)
	return func() {
		version++
		addrs[4], addrs[5] = addrs[5], addrs[4]
		store.Put(version, slice(one, addrs[:5]...))
	}, func() { a.change(t.Context(), changes.Take()) }
}

// pods are the addresses of pods of one Service.
func pods(service, n int) []string {
	var out []string
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{20 + byte(i), byte(service >> 16), byte(service >> 8), byte(service)}).String())
	}
	return out
}

func numbered(i int) *cluster.Service {
	ip := netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)}).String()
	if i%10 == 0 {
		return service(fmt.Sprintf("s%d", i), ip, "udp")
	}
	return service(fmt.Sprintf("s%d", i), ip)
}

// What a change costs depends on the Service, not on how many there are.
func TestAChangeCostsTheSameAtAnySize(t *testing.T) {
	few, many := cost(t, 100), cost(t, 10000)
	if many > few+few/10+2 {
		t.Errorf("a change takes %d allocations with 100 Services and %d with 10,000", few, many)
	}
}

// cost counts what following one change allocates, the Store's part left out.
func cost(t *testing.T, services int) uint64 {
	toggle, follow := loaded(t, services)
	const times = 100
	var sum uint64
	for range times {
		toggle()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		follow()
		runtime.ReadMemStats(&after)
		sum += after.Mallocs - before.Mallocs
	}
	return sum / times
}

func BenchmarkChange(b *testing.B) {
	for _, services := range []int{1000, 10000, 50000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			toggle, follow := loaded(b, services)
			b.ReportAllocs()
			for b.Loop() {
				toggle()
				follow()
			}
		})
	}
}
