//go:build linux

package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func TestVirtualAddresses(t *testing.T) {
	for _, tt := range []struct{ name, v4, v6 string }{
		{"cluster-ip-1", "10.96.0.1", "fd00:10:96::1"},
		{"cluster-ip-254", "10.96.0.254", "fd00:10:96::fe"},
		{"external-ip-7", "198.51.100.7", "2001:db8:51::7"},
		{"load-balancer-16", "203.0.113.16", "2001:db8:113::10"},
		{"cluster-ip-0", "", ""},
		{"cluster-ip-", "", ""},
		{"cluster-ip--1", "", ""},
		{"cluster-ip-+1", "", ""},
		{"local-1", "", ""},
		{"", "", ""},
	} {
		for f, want := range []string{tt.v4, tt.v6} {
			a, ok := virtual(tt.name, family(f))
			if got := a.String(); ok != (want != "") || ok && got != want {
				t.Errorf("%q %v: %s, %v, want %q", tt.name, family(f), got, ok, want)
			}
		}
	}
}

// TestEntry is which dataplane a packet meets first.
func TestEntry(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     int
	}{
		{"client", "cluster-ip-1", 0},
		{"far-client", "cluster-ip-1", 1},
		{"node-2", "load-balancer-1", 1},
		{outside, "external-ip-1", 0},
		{outside, "node-1", 0},
		{outside, "node-2", 1},
		{"client", "node-2", 1},
		{"far-client", "node-1", 0},
		{"far-client", nodeSecond, 0},
		{"far-client", "local-1", 1},
		{"node-1", localhost, 0},
	} {
		if got := entry(tt.from, destination{tt.to, 80}); got != tt.want {
			t.Errorf("from %s to %s: node-%d, want node-%d", tt.from, tt.to, got+1, tt.want+1)
		}
	}
}

// The tables of the distribution give the quantiles; Wilson and Hilferty come close from above.
func TestChiSquareMillionth(t *testing.T) {
	for degrees, exact := range map[int]float64{2: 27.631, 4: 33.377, 8: 42.701} {
		if got := chiSquareMillionth(degrees); got < exact-0.5 || got > exact*1.1 {
			t.Errorf("%d degrees: %.2f, want %.2f or a little more", degrees, got, exact)
		}
	}
}

func TestUneven(t *testing.T) {
	// Draws as a dataplane could make them, by the share of each backend.
	draw := func(r *rand.Rand, shares []float64) []int {
		counts := make([]int, len(shares))
		for range samples {
			at, x := 0, r.Float64()
			for x >= shares[at] && at < len(shares)-1 {
				x -= shares[at]
				at++
			}
			counts[at]++
		}
		return counts
	}
	even := func(n int) []float64 {
		shares := make([]float64, n)
		for i := range shares {
			shares[i] = 1 / float64(n)
		}
		return shares
	}
	for _, tt := range []struct {
		name   string
		shares []float64
		want   bool
	}{
		{"one backend", even(1), false},
		{"three", even(3), false},
		{"nine", even(9), false},
		{"one of three twice as often", []float64{0.5, 0.25, 0.25}, true},
		{"five drawn from eight, misses to the first four", []float64{.21875, .21875, .21875, .21875, .125}, true},
		{"one of nine never", append(even(8), 0), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			wrong := 0
			for range 200 {
				if uneven(draw(r, tt.shares)) != tt.want {
					wrong++
				}
			}
			if wrong > 4 {
				t.Errorf("%d of 200 judged wrong", wrong)
			}
		})
	}
}

// TestEnough counts how often a fair draw leaves a backend out, by inclusion and exclusion.
func TestEnough(t *testing.T) {
	if enough(0) != 0 || enough(1) != 1 {
		t.Errorf("%d tries for none and %d for one", enough(0), enough(1))
	}
	for n := 2; n <= 9; n++ {
		missed := func(tries int) float64 {
			sum, choose := 0.0, 1.0
			for k := 1; k < n; k++ {
				choose *= float64(n-k+1) / float64(k)
				sum -= math.Pow(-1, float64(k)) * choose * math.Pow(1-float64(k)/float64(n), float64(tries))
			}
			return sum
		}
		if p := missed(enough(n)); p > 1e-9 {
			t.Errorf("%d backends: %d tries miss one with %g", n, enough(n), p)
		}
		if p := missed(enough(n) - 5); p < 1e-9 {
			t.Errorf("%d backends: %d tries are too many, five fewer miss one with %g", n, enough(n), p)
		}
	}
}

// TestSaw is how errors of sockets are understood.
func TestSaw(t *testing.T) {
	reply := netlab.Reply{Server: "local-1:8080", Client: netip.MustParseAddrPort("10.244.1.2:40000")}
	op := func(err error) error { return fmt.Errorf("host client: %w", &net.OpError{Op: "dial", Err: err}) }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"an answer", nil, "answered by local-1:8080, which sees 10.244.1.2"},
		{"refused", op(os.NewSyscallError("connect", unix.ECONNREFUSED)), "refused"},
		{"too late for the context", op(context.DeadlineExceeded), "no answer"},
		{"too late for the socket", op(os.ErrDeadlineExceeded), "no answer"},
		{"given up by the kernel", op(os.NewSyscallError("connect", unix.ETIMEDOUT)), "no answer"},
		{"reset", op(os.NewSyscallError("read", unix.ECONNRESET)), "host client: dial: read: connection reset by peer"},
		{"no route", errors.New("no route to host"), "no route to host"},
	} {
		if got := saw(reply, tt.err).String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestUnreachables(t *testing.T) {
	const snmp = "Ip: Forwarding InReceives\nIp: 1 77\nIcmp: InMsgs InErrors InCsumErrors InDestUnreachs OutMsgs\nIcmp: 9 8 7 6 5\nIcmpMsg: InType3\nIcmpMsg: 6\n"
	const snmp6 = "Ip6InReceives 1\nIcmp6InErrors      2\nIcmp6InDestUnreachs             \t3\nIcmp6OutDestUnreachs 4\n"
	for _, tt := range []struct {
		name, text string
		count      func(string) (int, error)
		want       int // -1: an error
	}{
		{"IPv4", snmp, unreachables4, 6},
		{"IPv6", snmp6, unreachables6, 3},
		{"IPv4 from nothing", "", unreachables4, -1},
		{"IPv4 without values", "Icmp: InDestUnreachs\n", unreachables4, -1},
		{"IPv4 cut off", "Icmp: InMsgs InDestUnreachs\nIcmp: 1\n", unreachables4, -1},
		{"IPv6 from nothing", "", unreachables6, -1},
		{"IPv6 cut off", "Icmp6InDestUnreachs", unreachables6, -1},
	} {
		if got, err := tt.count(tt.text); (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%s: %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}
