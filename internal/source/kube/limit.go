package kube

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/metrics"
	"k8s.io/client-go/util/flowcontrol"
)

// What a feed may ask of the server if nobody says otherwise: as much as a kubelet.
const (
	defaultQPS   = 50
	defaultBurst = 100
)

// limitRate makes all requests pass one token bucket: those of every API group,
// retries, and the beginnings of watches. The limiter of client-go, which it
// replaces, is one per group and lets watches pass, and with streamed lists
// watches are all there is.
func limitRate(rc *rest.Config) {
	qps, burst := rc.QPS, rc.Burst
	rc.QPS, rc.Burst, rc.RateLimiter = -1, 0, nil
	if qps < 0 {
		return
	}
	switch {
	case burst > 0:
	case qps == 0:
		burst = defaultBurst
	default: // else a low rate would mean little for a few watches
		burst = int(math.Ceil(float64(qps)))
	}
	if qps == 0 {
		qps = defaultQPS
	}
	bucket := flowcontrol.NewTokenBucketRateLimiter(qps, burst)
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return &rated{next, bucket} })
}

// rated is a transport that waits for a token before each request.
type rated struct {
	next   http.RoundTripper
	bucket flowcontrol.RateLimiter
}

var _ utilnet.RoundTripperWrapper = &rated{}

// RoundTrip implements http.RoundTripper.
func (r *rated) RoundTrip(req *http.Request) (*http.Response, error) {
	begin := time.Now()
	err := r.bucket.Wait(req.Context())
	metrics.RateLimiterLatency.Observe(req.Context(), req.Method, *req.URL, time.Since(begin)) // as the limiter of client-go
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	return r.next.RoundTrip(req)
}

// WrappedRoundTripper implements net.RoundTripperWrapper, so that idle connections
// can be closed at the end.
func (r *rated) WrappedRoundTripper() http.RoundTripper { return r.next }

// gate lets a number of requests be in flight at once; nil lets all. A list is in
// flight until it was read, a watch until it began, and one that begins with a
// streamed list until that was read. A running watch is not: else as many as may
// be in flight would keep out all others for ever.
type gate chan struct{}

func newGate(most int) gate {
	if most <= 0 {
		return nil
	}
	return make(gate, most)
}

// enter waits for a place, and returns what gives it back, which may be called
// more than once.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	select {
	case g <- struct{}{}:
		return sync.OnceFunc(func() { <-g }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
