package api

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// Every status of reasons is one that clients know.
func TestRefuse(t *testing.T) {
	s := New(t)
	services := client(t, s, runtime.ContentTypeProtobuf).CoreV1().Services("")
	for status, reason := range reasons {
		s.Refuse(status)
		if _, err := services.List(t.Context(), metav1.ListOptions{}); apierrors.ReasonForError(err) != reason {
			t.Errorf("%d: %v, want %s", status, err, reason)
		}
	}
	s.Refuse(0)
	if _, err := services.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// A server that hangs answers no request, and again when it hangs no longer.
func TestIntercept(t *testing.T) {
	s := New(t)
	services := client(t, s, runtime.ContentTypeProtobuf).CoreV1().Services("")
	s.Intercept(http.HandlerFunc(Hang))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if list, err := services.List(ctx, metav1.ListOptions{}); err == nil {
		t.Errorf("a server that hangs answers %v", list)
	}
	s.Intercept(nil)
	if _, err := services.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func TestFailWatches(t *testing.T) {
	s := New(t)
	s.Put(service("a", ""))
	w, err := client(t, s, runtime.ContentTypeProtobuf).CoreV1().Services("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	expect(t, w, watch.Added, "a")
	if n := s.Watches(); n != 1 {
		t.Errorf("%d watches", n)
	}
	s.FailWatches(410)
	if e := <-w.ResultChan(); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("%v", e)
	}
	if e, open := <-w.ResultChan(); open {
		t.Errorf("%v after the end", e)
	}
	if n := s.Watches(); n != 0 {
		t.Errorf("%d watches", n)
	}
}

// A stopped server comes back at the same address, with what it had.
func TestStopAndStart(t *testing.T) {
	s := New(t)
	s.Put(service("a", ""))
	url := s.URL
	services := client(t, s, "").CoreV1().Services("")
	s.Stop()
	if _, err := services.List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("a stopped server answers")
	}
	s.Start()
	list, err := services.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || s.URL != url {
		t.Errorf("%v %v at %s", list, err, s.URL)
	}
}
