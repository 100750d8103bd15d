package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

func service(name, label string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{"app": label}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1"},
	}
}

func client(t *testing.T, s *Server, media string) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: media, AcceptContentTypes: media}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// expect reads one event.
func expect(t *testing.T, w watch.Interface, want watch.EventType, name string) runtime.Object {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatalf("the watch ended, want %s %s", want, name)
		}
		svc, _ := e.Object.(*corev1.Service)
		if e.Type != want || svc == nil || svc.Name != name {
			t.Fatalf("%s %v, want %s %s", e.Type, e.Object, want, name)
		}
		return e.Object
	case <-time.After(20 * time.Second):
		t.Fatalf("no event, want %s %s", want, name)
	}
	return nil
}

// A real client lists and watches, in both encodings.
func TestListAndWatch(t *testing.T) {
	for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(media, func(t *testing.T) {
			s := New(t)
			s.Put(service("a", "x"), service("b", "y"))
			api := client(t, s, media).CoreV1().Services("")
			list, err := api.List(t.Context(), metav1.ListOptions{LabelSelector: "app=x"})
			if err != nil || len(list.Items) != 1 || list.Items[0].Spec.ClusterIP != "10.96.0.1" || list.ResourceVersion != fmt.Sprint(s.Version()) {
				t.Fatalf("%v %v", list, err)
			}
			w, err := api.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "app=x", AllowWatchBookmarks: true})
			if err != nil {
				t.Fatal(err)
			}
			s.Put(service("c", "y"), service("c", "x"), service("c", "x"), service("c", "y"))
			s.Delete(service("a", ""), service("nobody", ""))
			expect(t, w, watch.Added, "c")
			expect(t, w, watch.Modified, "c")
			expect(t, w, watch.Deleted, "c")
			expect(t, w, watch.Deleted, "a")
			s.Bookmark()
			if o := expect(t, w, watch.Bookmark, "").(*corev1.Service); o.ResourceVersion == "" {
				t.Error("a bookmark without version")
			}
			s.DropConnections()
			if e, ok := <-w.ResultChan(); ok && e.Type != watch.Error {
				t.Errorf("%v after the connections were dropped", e)
			}
		})
	}
}

func TestWatchList(t *testing.T) {
	s := New(t)
	s.Put(service("a", "x"))
	options := metav1.ListOptions{
		SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
	w, err := client(t, s, runtime.ContentTypeProtobuf).CoreV1().Services("").Watch(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	expect(t, w, watch.Added, "a")
	if o := expect(t, w, watch.Bookmark, "").(*corev1.Service); o.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("no end of the initial events: %v", o)
	}
	s.Put(service("b", "x"))
	expect(t, w, watch.Added, "b")
	s.NoWatchList()
	if _, err := client(t, s, "").CoreV1().Services("").Watch(t.Context(), options); !apierrors.IsInvalid(err) {
		t.Errorf("without watch lists: %v", err)
	}
}

func TestTrouble(t *testing.T) {
	s := New(t)
	s.Put(service("a", "x"))
	old := fmt.Sprint(s.Version())
	s.Put(service("a", "x"))
	s.Expire()
	api := client(t, s, "").CoreV1().Services("ns")
	if _, err := api.Watch(t.Context(), metav1.ListOptions{ResourceVersion: old}); !apierrors.IsResourceExpired(err) {
		t.Errorf("from an expired version: %v", err)
	}
	s.Refuse(503)
	if _, err := api.List(context.Background(), metav1.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("refused: %v", err)
	}
	s.Refuse(0)
	if list, err := api.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if n := len(s.Requests()); n < 3 {
		t.Errorf("%d requests noted", n)
	}
}
