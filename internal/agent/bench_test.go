package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/vip"
)

// watched is a dataplane that tells when a Service was written.
type watched struct {
	dataplane.Dataplane
	service cluster.Key
	written chan struct{}
}

func (w *watched) Apply(ctx context.Context, changes []vip.Change) error {
	err := w.Dataplane.Apply(ctx, changes)
	for _, c := range changes {
		if c.New != nil && c.New.Owner.Service == w.service && c.New.Kind == vip.ClusterIP {
			w.written <- struct{}{}
		}
	}
	return err
}

// BenchmarkOthers measures from the change of a small Service in the Store until the dataplane
// has it (which does nothing here), while a large Service is added and while one of its slices of 1,000 endpoints
// changes five times a second. At once is without steps, for comparison.
func BenchmarkOthers(b *testing.B) {
	for _, shape := range []struct{ ports, endpoints int }{{2, 50_000}, {100, 1_000}, {100, 10_000}} {
		for name, p := range map[string]pace{"steps": defaultPace, "at once": {large: math.MaxInt, step: math.MaxInt, few: 1}} {
			b.Run(fmt.Sprintf("%d ports of %d endpoints/%s", shape.ports, shape.endpoints, name), func(b *testing.B) {
				others(b, shape.ports, shape.endpoints, p)
			})
		}
	}
}

func others(b *testing.B, ports, endpoints int, p pace) {
	small := service("small", "10.96.0.2")
	w := &watched{nowhere{}, small.Key, make(chan struct{}, 1000)}
	store := cluster.NewStore()
	a := New(Options{
		Store: store, Dataplane: w, Machine: &machine{}, Flows: nowhere{}, Log: slog.New(slog.DiscardHandler),
		Health: healthcheck.NewHealth(time.Minute), Metrics: NewMetrics(prometheus.NewRegistry(), modeNFTables), NodeName: "node-1", MasqueradeMark: 1,
	})
	a.lane.pace = p
	var version atomic.Uint64
	put := func(objects ...cluster.Object) { store.Put(version.Add(1), objects...) }
	put(small, slice(small, "10.244.1.1"))
	store.MarkSynced()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-a.InPlace()
	i := 0
	measure := func(until func() bool) (took []float64) {
		for ; len(took) == 0 || !until(); i++ {
			for len(w.written) > 0 {
				<-w.written
			}
			begin := time.Now()
			put(slice(small, fmt.Sprintf("10.244.1.%d", 2+i%2)))
			<-w.written
			took = append(took, time.Since(begin).Seconds()*1000)
			time.Sleep(5 * time.Millisecond)
		}
		slices.Sort(took)
		return took
	}
	report := func(what string, ms []float64) {
		b.ReportMetric(ms[len(ms)/2], what+"-p50-ms")
		b.ReportMetric(ms[len(ms)*99/100], what+"-p99-ms")
		b.ReportMetric(ms[len(ms)-1], what+"-most-ms")
	}
	large := largeOf(ports)
	objects := []cluster.Object{large}
	for at := 0; at < endpoints; at += 1000 {
		objects = append(objects, flapping(large, at, 0))
	}
	put(objects...)
	last := cluster.ServicePort{Number: uint16(ports), Protocol: cluster.TCP}
	begin := time.Now()
	report("add", measure(func() bool {
		a.mu.RLock()
		defer a.mu.RUnlock()
		r := a.table.Route(vip.Frontend{Addr: large.ClusterIPs[0], Port: last.Number, Protocol: last.Protocol})
		return r != nil && len(r.Cluster) == endpoints
	}))
	b.ReportMetric(time.Since(begin).Seconds(), "add-s")
	stop := make(chan struct{})
	go func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				put(flapping(large, 0, i%2))
			}
		}
	}()
	until := time.Now().Add(10 * time.Second)
	report("flap", measure(func() bool { return time.Now().After(until) }))
	close(stop)
	b.ReportMetric(0, "ns/op")
}

func largeOf(ports int) *cluster.Service {
	s := service("large", "10.96.0.1")
	s.Ports = nil
	for i := range ports {
		s.Ports = append(s.Ports, cluster.ServicePort{Name: fmt.Sprintf("p%d", i), Number: uint16(i + 1), Protocol: cluster.TCP})
	}
	return s
}

// flapping is a slice of 1,000 endpoints, in one of two versions.
func flapping(s *cluster.Service, at, version int) *cluster.Slice {
	var eps []cluster.Endpoint
	for i := at; i < at+1000; i++ {
		eps = append(eps, cluster.Endpoint{Addr: netip.AddrFrom4([4]byte{20, byte(version), byte(i >> 8), byte(i)}), Conditions: cluster.Ready | cluster.Serving})
	}
	var ports []cluster.Port
	for _, p := range s.Ports {
		ports = append(ports, cluster.Port{Name: p.Name, Number: 8000 + p.Number, Protocol: p.Protocol})
	}
	return cluster.NewSlice(cluster.Key{Namespace: s.Namespace, Name: fmt.Sprintf("large-%d", at)}, s.Key, 1, ports, eps)
}
