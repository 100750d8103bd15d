package kube

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/test/api"
)

// TestStopDuringAList: a Reflector lists in a goroutine that knows nothing of its end and
// that it does not wait for. The feed must end it, and what it goes on to ask for.
func TestStopDuringAList(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.NoWatchList()
	server.Put(oneOfEach()...)
	begun, thaw := make(chan struct{}, 100), make(chan struct{})
	server.Guard(func(r api.Request) int {
		if !r.Query.Has("watch") {
			begun <- struct{}{}
			<-thaw
		}
		return 0
	})
	free := sync.OnceFunc(func() { close(thaw) })
	defer free()
	l := newLab(t, server, nil)
	for range allKinds {
		<-begun
	}
	begin := time.Now()
	l.stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the end took %v, want none of the patience with a list", took)
	}
	free()
	// A goroutine that comes late, or has more pages to ask for, gets an error at once.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	asked := len(server.Requests())
	for _, w := range l.feed.wide {
		if _, err := w.listWatch(over).ListWithContextFunc(context.Background(), metav1.ListOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a list of %s after the end: %v", w.resource.name, err)
		}
	}
	if now := len(server.Requests()); now != asked {
		t.Errorf("%d requests after the end", now-asked)
	}
}
