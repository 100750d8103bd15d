package kube

import (
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// health tracks the state of one watch and logs its changes: one line when it starts to
// fail, and one when it recovers.
type health struct {
	kind      cluster.Kind
	namespace string // empty: all
	logf      func(level, format string, args ...any)

	mu     sync.Mutex
	status source.Status
	reason metav1.StatusReason // of the last logged failure
	since  uint64              // value of Failures when it started to fail
	remind time.Time           // time of the next log line
}

func (h *health) get() source.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.status
	st.Kind = h.kind
	return st
}

// heard records contact with the server.
func (h *health) heard() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.LastEvent = time.Now()
}

// listed records a complete list and reports whether it is the first.
func (h *health) listed() (first bool) {
	h.heard()
	h.mu.Lock()
	defer h.mu.Unlock()
	first = !h.status.Synced
	h.status.Synced = true
	return first
}

// works records that the watch works. A list alone does not prove that: some servers and
// proxies return lists but end each watch.
func (h *health) works() {
	h.mu.Lock()
	failures, tell := h.status.Failures-h.since, h.status.Failing
	h.status.Failing = false
	h.mu.Unlock()
	if tell {
		h.logf("info", "watching %s: recovered after %d failures", h.what(), failures)
	}
}

// firstReminder is the time from the first failure to the second log line, which reports the
// age of the data. The interval then doubles each time.
const firstReminder = time.Minute

// failed records an error. A different reason is logged again; a different text with the
// same reason (ports, times) is not.
func (h *health) failed(err error) {
	text, reason := describe(h.kind, h.namespace, err), apierrors.ReasonForError(err)
	h.mu.Lock()
	now := time.Now()
	tell := !h.status.Failing || h.reason != reason || now.After(h.remind)
	age := now.Sub(h.status.LastEvent)
	if tell {
		h.remind = now.Add(max(firstReminder, age))
	}
	if !h.status.Failing {
		h.since = h.status.Failures
	}
	h.status.Failures++
	h.status.Failing, h.status.LastError, h.reason = true, text, reason
	synced := h.status.Synced
	h.mu.Unlock()
	if !tell {
		return
	}
	rest := "nothing is known yet"
	if synced {
		rest = fmt.Sprintf("keeping known objects, last contact with the server %v ago", age.Round(time.Second))
	}
	h.logf("error", "watching %s: %s; %s, retrying", h.what(), text, rest)
}

// what describes the watched objects.
func (h *health) what() string {
	if h.namespace == "" {
		return h.kind.String()
	}
	return h.kind.String() + " in the namespace " + h.namespace
}

// describe adds to an error how an operator can fix it.
func describe(kind cluster.Kind, namespace string, err error) string {
	r, role := resources[kind], "a ClusterRole"
	if namespace != "" {
		role = "a Role there (or a ClusterRole)"
	}
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("%v: want %s with the verbs list and watch on %s in apiGroups %q", err, role, r.name, []string{r.group.Group})
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("%v: want credentials that the API server accepts (token, or client certificate and key)", err)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("%v: want an API server that has %s in %s", err, r.name, r.group)
	}
	var request *url.Error
	if errors.As(err, &request) {
		return withoutRequest(request)
	}
	return err.Error()
}

// withoutRequest shortens the error of a request without response: the whole URL fills a
// line and repeats the kind.
func withoutRequest(err *url.Error) string {
	if u, parseErr := url.Parse(err.URL); parseErr == nil {
		return fmt.Sprintf("no answer from %s: %v", u.Host, err.Err)
	}
	return err.Err.Error()
}

// logSink receives the log lines of client-go.
type logSink struct {
	logf func(level, format string, args ...any)
	name string
}

var _ klog.LogSink = &logSink{}

// Init implements klog.LogSink.
func (*logSink) Init(klog.RuntimeInfo) {}

// Enabled implements klog.LogSink: only what klog itself would print.
func (*logSink) Enabled(level int) bool { return level == 0 }

// Info implements klog.LogSink.
func (s *logSink) Info(_ int, message string, pairs ...any) {
	s.logf("debug", "client-go %s: %s %v", s.name, message, pairs)
}

// Error implements klog.LogSink.
func (s *logSink) Error(err error, message string, pairs ...any) {
	s.logf("debug", "client-go %s: %s: %v %v", s.name, message, err, pairs)
}

// WithValues implements klog.LogSink.
func (s *logSink) WithValues(...any) klog.LogSink { return s }

// WithName implements klog.LogSink.
func (s *logSink) WithName(name string) klog.LogSink { return &logSink{logf: s.logf, name: name} }
