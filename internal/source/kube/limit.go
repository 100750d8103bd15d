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

// Default limits of requests: those of a kubelet.
const (
	defaultQPS   = 50
	defaultBurst = 100
)

// limitRate passes all requests through one token bucket: those of every API group,
// retries, and the starts of watches. It replaces the limiter of client-go, which is one
// per group and ignores watches, while with streamed lists all requests are watches.
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
	default: // otherwise a low rate would have no effect on a few watches
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

// gate limits the requests in flight; nil does not limit. A list is in flight until it is
// read, a watch until it starts, and a watch with a streamed list until the list is read. A
// running watch does not count, because it would block its place forever.
type gate chan struct{}

func newGate(most int) gate {
	if most <= 0 {
		return nil
	}
	return make(gate, most)
}

// enter waits for a place and returns the function that frees it, which may be called more
// than once.
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
