package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/vip"
)

// nowhere is a dataplane without a kernel, for what the agent itself costs.
type nowhere struct{}

func (nowhere) Sync(context.Context, dataplane.Host, *vip.Table) error { return nil }
func (nowhere) Apply(context.Context, []vip.Change) error              { return nil }
func (nowhere) Intact() (bool, error)                                  { return true, nil }
func (nowhere) Close() error                                           { return nil }

// loaded is an agent that has so many Services, each with five endpoints and every
// tenth of UDP; toggle changes an endpoint of one of them and brings it to the dataplane.
func loaded(t testing.TB, services int) (toggle func()) {
	store := cluster.NewStore()
	objects := make([]cluster.Object, 0, 2*services)
	for i := range services {
		svc := numbered(i)
		objects = append(objects, svc, slice(svc, "10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5"))
	}
	store.Put(1, objects...)
	a := New(Options{
		Store: store, Dataplane: nowhere{}, Machine: &machine{}, Flows: newKernel(), Log: slog.New(slog.DiscardHandler),
		Health: healthcheck.NewHealth(time.Minute), Metrics: NewMetrics(prometheus.NewRegistry()), NodeName: "node-1", MasqueradeMark: 1,
	})
	a.retry = time.NewTimer(time.Hour)
	changes := store.Subscribe()
	a.look()
	a.take(changes.Take())
	if err := a.sync(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	one, other := numbered(services/2), "10.244.1.7"
	version := uint64(1)
	return func() {
		version++
		if other == "10.244.1.7" {
			other = "10.244.1.8"
		} else {
			other = "10.244.1.7"
		}
		store.Put(version, slice(one, "10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.4", other))
		a.change(t.Context(), changes.Take())
	}
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
	few, many := testing.AllocsPerRun(100, loaded(t, 101)), testing.AllocsPerRun(100, loaded(t, 10001))
	if many > few*1.1+2 {
		t.Errorf("a change takes %v allocations with 100 Services and %v with 10,000", few, many)
	}
}

func BenchmarkChange(b *testing.B) {
	for _, services := range []int{1000, 10000, 50000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			toggle := loaded(b, services)
			b.ReportAllocs()
			for b.Loop() {
				toggle()
			}
		})
	}
}
