package api

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Request is one request as it came.
type Request struct {
	Method, Path string
	Query        url.Values
	Accept       string
	UserAgent    string
	Token        string // of the header Authorization
}

func newRequest(r *http.Request) Request {
	return Request{r.Method, r.URL.Path, r.URL.Query(), r.Header.Get("Accept"), r.UserAgent(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
}

// String gives method, path and query.
func (r Request) String() string { return r.Method + " " + r.Path + "?" + r.Query.Encode() }

// Requests returns every request so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Watches counts the watches that run now.
func (s *Server) Watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches
}

func (s *Server) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches--
}

// Start lets a stopped server listen again, at the same address.
func (s *Server) Start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatalf("starting the test API: %v", err)
	}
	server := httptest.NewUnstartedServer(s)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr, s.URL, s.http = listener.Addr().String(), server.URL, server
}

// Stop ends all connections and closes the port: a server that is away.
func (s *Server) Stop() {
	s.DropConnections()
	s.mu.Lock()
	server := s.http
	s.http = nil
	s.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Listener.Close()
	server.CloseClientConnections()
	server.Close()
}

// DropConnections cuts all watches and connections.
func (s *Server) DropConnections() {
	s.mu.Lock()
	close(s.drop)
	s.drop = make(chan struct{})
	server := s.http
	s.mu.Unlock()
	if server != nil {
		server.CloseClientConnections()
	}
}

// FailWatches ends all running watches with an event of type ERROR that carries
// this HTTP status: 410 as when the watch was too slow, 500 as when a proxy or
// the server itself has a fault.
func (s *Server) FailWatches(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = metav1.Status{
		Status: metav1.StatusFailure, Code: int32(status), Reason: reasons[status], Message: "the test ends the watch",
	}
	close(s.fail)
	s.fail = make(chan struct{})
}

func (s *Server) lastFailure() *metav1.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure.DeepCopy()
}

// Refuse answers every request with an HTTP status from now on; 0 ends that.
// Running watches go on.
func (s *Server) Refuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = status
}

// RefuseKind does so for the requests of one kind, by its plural: 404 makes the server
// one from before there was that kind.
func (s *Server) RefuseKind(plural string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[plural] = status
}

// Guard asks for every request from now on which HTTP status refuses it; 0 lets it
// through. A nil guard does so for all.
func (s *Server) Guard(guard func(Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard = guard
}

// Intercept has h answer every request from now on in place of the API. A nil h ends that.
// Watches that run are not concerned.
func (s *Server) Intercept(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = h
}

// Hang is for Intercept: it answers when the connection ends, which is never.
func Hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// reasons are what the API calls its HTTP statuses.
var reasons = map[int]metav1.StatusReason{
	http.StatusUnauthorized:        metav1.StatusReasonUnauthorized,
	http.StatusForbidden:           metav1.StatusReasonForbidden,
	http.StatusNotFound:            metav1.StatusReasonNotFound,
	http.StatusGone:                metav1.StatusReasonExpired,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
}

// NoWatchList makes the server one from before watch lists: clients fall back to
// a list and a watch.
func (s *Server) NoWatchList() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noStream = true
}
