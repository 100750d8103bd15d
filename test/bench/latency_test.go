package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

// changesPerSecond is the load under which changes are followed.
const changesPerSecond = 100

// BenchmarkChange is the time from the event of a change on the server's socket
// until the answer has changed, among 15,000 endpoints and under a steady load of
// changes. A reader asks without pause.
func BenchmarkChange(b *testing.B) {
	const changes = 400
	s := api.New(b)
	s.Put(big(1000, bigEndpoints)...)
	s.Put(marker("first")...)
	took := map[string][]time.Duration{}
	for _, plugin := range plugins {
		b.Run("plugin="+plugin, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			way := api.NewRelay(b, l, s.URL)
			side := peer.Start(b, plugin, way.URL, "startup_timeout 60s", "")
			waitFor(side, markerName("first"))
			tick := time.NewTicker(time.Second / changesPerSecond)
			defer tick.Stop()
			for i := range changes {
				<-tick.C
				ip := address(10, 200, i)
				s.Put(peer.Service("ns", "moving", peer.HTTP, ip))
				untilAnswer(side, "moving.ns.svc.cluster.local.", ip)
				took[plugin] = append(took[plugin], time.Since(way.Last()))
			}
			slices.Sort(took[plugin])
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(quantile(took[plugin], 50).Microseconds()), "p50-µs")
			b.ReportMetric(float64(quantile(took[plugin], 99).Microseconds()), "p99-µs")
		})
	}
	if len(took[ours]) == 0 || len(took[theirs]) == 0 {
		return
	}
	for _, q := range []struct {
		percent int
		most    float64
	}{{50, 0}, {99, 1000}} {
		note(row{
			fmt.Sprintf("event received to changed answer, p%d", q.percent), "µs",
			micro(quantile(took[ours], q.percent)), micro(quantile(took[theirs], q.percent)), q.most, 0,
		})
	}
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100]
}

// keeper is a client that keeps the last answer.
type keeper struct {
	test.ResponseWriter
	got *dns.Msg
}

func (k *keeper) WriteMsg(m *dns.Msg) error { k.got = m; return nil }

// untilAnswer asks until the only answer is the address.
func untilAnswer(side peer.Side, name, ip string) {
	r := new(dns.Msg)
	r.SetQuestion(name, dns.TypeA)
	for {
		w := &keeper{}
		if _, err := side.Handler.ServeDNS(context.Background(), w, r); err == nil && w.got != nil && len(w.got.Answer) == 1 {
			if a, ok := w.got.Answer[0].(*dns.A); ok && a.A.String() == ip {
				return
			}
		}
		time.Sleep(20 * time.Microsecond)
	}
}
