package forwarder

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// A shape is one Service that is large: so many ports, and so many endpoints that have them all.
type shape struct{ ports, endpoints int }

func (s shape) String() string { return fmt.Sprintf("1 of %d ports × %d", s.ports, s.endpoints) }

// shapes of 100,000 backends, and of all that a node takes.
var shapes = []shape{{2, 50_000}, {100, 1_000}, {100, 10_000}}

const (
	slicesOf    = 1000 // endpoints in a slice, the most that the API takes
	flapPeriod  = 200 * time.Millisecond
	flapTime    = 20 * time.Second
	memoryLimit = 300 << 20 // of the manifest
)

// BenchmarkLarge measures how long changes of other Services take, from the write into the API to
// the first packet, while one large Service is added and while one of its slices changes five
// times a second. With -large kube-proxy does it as well.
func BenchmarkLarge(b *testing.B) {
	b.Setenv("GOMEMLIMIT", strconv.Itoa(memoryLimit))
	ourBinary, theirBinary := buildForwarder(b), findKubeProxy()
	for _, s := range shapes {
		b.Run(s.String(), func(b *testing.B) {
			if *large && theirBinary != "" {
				b.Run(theirs, func(b *testing.B) { beside(b, s, theirs, theirBinary) })
			}
			b.Run(ours, func(b *testing.B) { beside(b, s, ours, ourBinary) })
		})
	}
}

func beside(b *testing.B, s shape, name, binary string) {
	x := newSide(b, name, binary, nil)
	for n := range burst {
		x.api.Put(judged(n))
		x.lead(0, n)
	}
	x.begin()
	x.programmed()
	report := func(what, unit string, value, most float64) { note(s.String(), what, unit, name, value, most, 0) }

	began := time.Now()
	x.api.Put(s.service())
	for at := 0; at < s.endpoints; at += slicesOf {
		x.api.Put(s.slice(at, 0))
	}
	added := x.others(func() bool {
		if name == theirs { // it does not say how far it is
			return time.Since(began) > flapTime
		}
		return x.backends() >= s.ports*s.endpoints
	})
	report("until all is added", "s", time.Since(began).Seconds(), 0)
	report("event to packet of others while it is added, p50", "ms", quantile(added, 50), 0)
	report("event to packet of others while it is added, p99", "ms", quantile(added, 99), 100)

	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(flapPeriod):
				x.api.Put(s.slice(0, i%2))
			}
		}
	}()
	until := time.Now().Add(flapTime)
	flaps := x.others(func() bool { return time.Now().After(until) })
	close(stop)
	<-ended
	report("event to packet of others while it flaps, p50", "ms", quantile(flaps, 50), 0)
	report("event to packet of others while it flaps, p99", "ms", quantile(flaps, 99), 100)
	report("RSS", "MiB", x.memory("VmRSS"), 0)
	report("peak RSS", "MiB", x.memory("VmHWM"), memoryLimit>>20)
	b.ReportMetric(0, "ns/op")
}

// others measures changes of a small Service until something is so, in milliseconds, sorted.
func (s *side) others(until func() bool) (took []float64) {
	s.Helper()
	for i := 0; len(took) == 0 || !until(); i++ {
		began, to := time.Now(), (i+1)%2
		s.lead(to, burst-1)
		took = append(took, millis(s.until(burst-1, to).Sub(began)))
		time.Sleep(10 * time.Millisecond)
	}
	slices.Sort(took)
	return took
}

// backends reads how many backends all frontends of the forwarder have.
func (s *side) backends() int {
	s.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.node.Dial(ctx, network, netip.MustParseAddrPort("127.0.0.1:10249"))
		}}}
	r, err := client.Get("http://proxy/metrics")
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	defer io.Copy(io.Discard, r.Body)
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "signpost_backends "); ok {
			n, _ := strconv.ParseFloat(rest, 64)
			return int(n)
		}
	}
	return 0
}

func (s shape) service() *corev1.Service {
	o := service("large", "10.126.0.1", 1)
	o.Spec.Ports = nil
	for i := range s.ports {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(1000 + i), Protocol: corev1.ProtocolTCP})
	}
	return o
}

// slice is one of the Service's, in one of two versions.
func (s shape) slice(at, version int) *discoveryv1.EndpointSlice {
	var addrs []string
	for i := range min(slicesOf, s.endpoints-at) {
		addrs = append(addrs, ipv4([]string{"20.0.0.0", "21.0.0.0"}[version], at+i))
	}
	o := endpoints("large", addrs...)
	o.Name = fmt.Sprintf("large-%05d", at)
	o.Ports = nil
	for i := range s.ports {
		o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: ptr.To(fmt.Sprintf("p%d", i)), Port: ptr.To(int32(8000 + i)), Protocol: ptr.To(corev1.ProtocolTCP)})
	}
	for i := range o.Endpoints {
		o.Endpoints[i].TargetRef.Name = fmt.Sprintf("large-%d-%d", version, at+i)
	}
	return o
}
