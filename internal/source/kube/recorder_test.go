package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

// registrar takes Events before an API that has Services, and refuses them with a status.
type registrar struct {
	mu     sync.Mutex
	events map[string]*corev1.Event
	posts  int
	refuse int
}

func (g *registrar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.posts++
	e, ok := o.(*corev1.Event)
	status, reason := g.refuse, "Forbidden"
	if _, there := g.events[r.URL.Path+"/"+eventName(e)]; there && ok {
		status, reason = http.StatusConflict, "AlreadyExists"
	}
	if err != nil || !ok {
		status, reason = http.StatusBadRequest, "BadRequest"
	}
	w.Header().Set("Content-Type", "application/json")
	if status != 0 {
		w.WriteHeader(status)
		io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"`+reason+`","message":"the test refuses"}`)
		return
	}
	g.events[r.URL.Path+"/"+e.Name] = e
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, `{"kind":"Event","apiVersion":"v1"}`)
}

func eventName(e *corev1.Event) string {
	if e == nil {
		return ""
	}
	return e.Name
}

func (g *registrar) seen() (posts int, events []*corev1.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		events = append(events, e)
	}
	return g.posts, events
}

// What many nodes say is one Event, which kubectl describe finds by the Service's UID.
func TestRecorder(t *testing.T) {
	services := api.New(t)
	web := service("web", "10.0.0.1")
	web.UID = "6ba7b810"
	services.Put(runtime.Object(web))
	events := &registrar{events: map[string]*corev1.Event{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			events.ServeHTTP(w, r)
			return
		}
		services.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	logged := &log{}
	var nodes []*Recorder
	for _, node := range []string{"n1", "n2"} {
		rc, err := Config{Endpoint: server.URL}.REST()
		must(t, err)
		r, err := NewRecorder(rc, "signpost-forwarder", node, logged.logf)
		must(t, err)
		r.spread = 0
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); r.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-ended; r.client.Client.CloseIdleConnections() })
		nodes = append(nodes, r)
	}
	key := cluster.Key{Namespace: "default", Name: "web"}
	until := func(what string, posts, count int) []*corev1.Event {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			p, e := events.seen()
			if p == posts && len(e) == count {
				return e
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d requests, events %v; want %d and %d", what, p, e, posts, count)
			}
		}
	}
	for range 3 {
		nodes[0].Event(key, "FrontendConflict", "10.0.0.9 belongs to another")
	}
	e := until("said three times", 1, 1)[0]
	if e.InvolvedObject.UID != "6ba7b810" || e.InvolvedObject.Kind != "Service" || e.Source.Host != "n1" || e.Type != "Warning" || e.Count != 1 || e.FirstTimestamp.IsZero() {
		t.Errorf("event %+v", e)
	}
	nodes[1].Event(key, "FrontendConflict", "10.0.0.9 belongs to another")
	until("another node says the same", 2, 1)
	nodes[1].Event(key, "NotProgrammed", strings.Repeat("é", 2000))
	for _, e := range until("another fact", 3, 2) {
		if len(e.Message) > 1024 {
			t.Errorf("a message of %d bytes", len(e.Message))
		}
	}
	nodes[0].NodeEvent(false, "ForwarderConfigRefused", "mode x")
	nodes[0].NodeEvent(true, "ForwarderConfigAccepted", "again")
	nodes[0].NodeEvent(false, "ForwarderConfigRefused", "mode x") // true again, so it is said again
	byType := map[string]int{}
	for _, e := range until("about the node", 6, 5) {
		if e.InvolvedObject.Kind == "Node" {
			byType[e.Type]++
			if e.Namespace != "default" || e.InvolvedObject.Name != "n1" || e.InvolvedObject.UID != "n1" || e.InvolvedObject.Namespace != "" {
				t.Errorf("event about the node %+v", e)
			}
		}
	}
	if byType["Warning"] != 2 || byType["Normal"] != 1 {
		t.Errorf("events about the node by type: %v", byType)
	}
	events.mu.Lock()
	events.refuse = http.StatusForbidden
	events.mu.Unlock()
	nodes[0].Event(key, "A", "a")
	nodes[0].Event(key, "B", "b")
	until("without the right", 8, 5)
	if said := strings.Join(logged.said(), "\n"); strings.Count(said, "verb create on events") != 1 {
		t.Errorf("logged %s", said)
	}
}

// One Service with much to say does not use up what others have.
func TestRecorderIsFair(t *testing.T) {
	posts := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts[strings.Split(r.URL.Path, "/")[4]]++ // the namespace
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	rc, err := Config{Endpoint: server.URL, QPS: -1}.REST()
	must(t, err)
	r, err := NewRecorder(rc, "c", "n", func(string, string, ...any) {})
	must(t, err)
	t.Cleanup(r.client.Client.CloseIdleConnections)
	for i := range 100 {
		r.take(t.Context(), note{service: cluster.Key{Namespace: "evil", Name: "x"}, message: fmt.Sprint(i)})
	}
	r.take(t.Context(), note{service: cluster.Key{Namespace: "good", Name: "y"}})
	if posts["evil"] != mostOfOne || posts["good"] != 1 {
		t.Errorf("wrote %v, want %d and 1", posts, mostOfOne)
	}
}

// Who cannot write Events does not wait, nor fill the memory.
func TestRecorderIsBounded(t *testing.T) {
	rc, err := Config{Endpoint: "http://127.0.0.1:1"}.REST()
	must(t, err)
	r, err := NewRecorder(rc, "c", "n", func(string, string, ...any) {})
	must(t, err)
	for range 10 * mostNotes {
		r.Event(cluster.Key{Namespace: "a", Name: "b"}, "R", "m")
	}
	if len(r.notes) != mostNotes {
		t.Errorf("%d wait", len(r.notes))
	}
}
