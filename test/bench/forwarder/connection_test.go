package forwarder

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// BenchmarkConnection measures what a new connection through a VIP costs the kernel, among
// how many Services: processor time of the thread that dials, in which the kernel also does
// what the packets of both sides need (on a kernel without CONFIG_IRQ_TIME_ACCOUNTING). Beside it
// is a connection straight to the pod. It runs once, whatever b.N is.
func BenchmarkConnection(b *testing.B) {
	ourBinary, theirBinary := buildForwarder(b), findKubeProxy()
	for _, s := range sizes[*mode] {
		if s.endpoints > 5 {
			continue
		}
		b.Run(s.String(), func(b *testing.B) {
			if theirBinary != "" && (*large || s.services <= 10000) {
				b.Run(theirs, func(b *testing.B) { connections(b, s, theirs, theirBinary) })
			}
			b.Run(ours, func(b *testing.B) { connections(b, s, ours, ourBinary) })
		})
	}
}

func connections(b *testing.B, s size, name, binary string) {
	x := newSide(b, name, binary, bulk(s))
	for n := range burst {
		x.api.Put(judged(n))
		x.lead(0, n)
	}
	x.begin()
	x.programmed()
	// Who dialled before there were rules is tracked untranslated for two minutes, and so would be
	// who uses that port again.
	if err := x.node.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }); err != nil {
		b.Fatal(err)
	}
	var straight, through []float64
	for range 5 { // in turns, so that a noisy moment concerns both
		straight = append(straight, x.connect(netip.AddrPortFrom(x.pods[0].IPv4, targetPort)))
		through = append(through, x.connect(judgedAt(burst-1)))
	}
	slices.Sort(straight)
	slices.Sort(through)
	note(s.String(), "processor time of a connection to the pod", "µs", name, quantile(straight, 50), 0, 0)
	note(s.String(), "processor time of a connection through the VIP", "µs", name, quantile(through, 50), 0, 1)
	b.ReportMetric(0, "ns/op")
}

// connect makes new connections and returns how many microseconds of a processor one takes.
func (s *side) connect(to netip.AddrPort) (each float64) {
	s.Helper()
	const times = 3000
	if err := s.client.Do(func() error {
		begin, err := threadTime()
		for i := 0; i < times && err == nil; i++ {
			err = netlab.ConnectOnce(to)
		}
		if err != nil {
			return err
		}
		end, err := threadTime()
		each = float64((end - begin).Nanoseconds()) / 1000 / times
		return err
	}); err != nil {
		s.Fatalf("%s: connecting to %v: %v", s.name, to, err)
	}
	return each
}

// threadTime is what the calling thread has used of a processor.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}
