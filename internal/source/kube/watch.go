package kube

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptrace"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// timeouts decide when a watch counts as stuck: a proxy in between, or the server, may have
// forgotten the connection.
type timeouts struct {
	begin time.Duration // from the request to the head of the response
	// quiet is the time between two bookmarks. An API server sends one a minute (k8s.io/apiserver,
	// storage/cacher, bookmarkFrequency). It does not apply to servers without bookmarks.
	quiet time.Duration
	over  time.Duration // after the requested end of the watch
}

var usual = timeouts{begin: 30 * time.Second, quiet: 3*time.Minute + 30*time.Second, over: 30 * time.Second}

func (l *link) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	if o.SendInitialEvents != nil {
		l.sink.seeks()
	} else if err := l.catchUp(ctx); err != nil {
		return nil, err
	}
	leave, err := l.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	opened, cancel := context.WithCancelCause(ctx)
	w, err := l.open(opened, cancel, o)
	if err != nil || o.SendInitialEvents == nil {
		leave()
	}
	if err != nil {
		if cause := context.Cause(opened); errors.Is(cause, errNoAnswer) {
			err = fmt.Errorf("%w within %v", errNoAnswer, l.timeouts.begin)
		}
		cancel(nil)
		if o.SendInitialEvents != nil && apierrors.IsInvalid(err) {
			return nil, err // for example an older server: the Reflector lists instead
		}
		l.lost.Store(true)
		l.failed(ctx, err)
		return nil, err
	}
	if o.SendInitialEvents == nil {
		if err := l.noteRestore(ctx); err != nil {
			w.Stop()
			cancel(nil)
			return nil, err
		}
	}
	end := time.Duration(0)
	if o.TimeoutSeconds != nil {
		end = time.Duration(*o.TimeoutSeconds)*time.Second + l.timeouts.over
	}
	closed := func() {
		cancel(nil)
		leave()
	}
	return l.observe(ctx, w, end, leave, closed), nil
}

// open starts a watch, and cancels ctx if the server does not respond in time. The time starts
// when the request is sent, which may be much later, because it waits for its token first.
func (l *link) open(ctx context.Context, cancel context.CancelCauseFunc, o metav1.ListOptions) (watch.Interface, error) {
	late := time.AfterFunc(math.MaxInt64, func() { cancel(errNoAnswer) })
	trace := &httptrace.ClientTrace{GetConn: func(string) { late.Reset(l.timeouts.begin) }}
	w, err := l.request(o).Watch(httptrace.WithClientTrace(ctx, trace))
	if !late.Stop() && err == nil { // the response arrived at the last moment
		w.Stop()
		err = errNoAnswer
	}
	return w, err
}

// veryShort is the minimum duration of a watch that Reflectors consider successful.
const veryShort = time.Second

var (
	errShort    = errors.New("the watch ended at once: the connection was lost, or the server does not support watches")
	errNoAnswer = errors.New("the server does not answer")
	errStuck    = errors.New("the watch hangs")
)

// observed is a watch that records what passes through it.
type observed struct {
	link     *link
	upstream watch.Interface
	events   chan watch.Event
	stopped  chan struct{}
	once     sync.Once
	works    bool
	listed   func() // called after the streamed list at its start
}

// ResultChan implements watch.Interface.
func (o *observed) ResultChan() <-chan watch.Event { return o.events }

// Stop implements watch.Interface.
func (o *observed) Stop() { o.once.Do(func() { close(o.stopped) }) }

// observe forwards the events until the watch ends or is abandoned: at end, if that is not 0,
// or because expected messages are missing. Then it calls closed. The Reflector starts
// another watch where this one ended. If the watch starts with a streamed list, observe calls
// listed at the bookmark that ends the list.
func (l *link) observe(ctx context.Context, w watch.Interface, end time.Duration, listed, closed func()) watch.Interface {
	o := &observed{link: l, upstream: w, events: make(chan watch.Event), stopped: make(chan struct{}), listed: listed}
	l.calls.RLock()
	go func() {
		defer l.calls.RUnlock()
		defer close(o.events)
		defer closed()
		defer w.Stop()
		begin := time.Now()
		o.run(ctx, end)
		l.lost.Store(end == 0 || time.Since(begin) < end-l.timeouts.over-veryShort)
	}()
	return o
}

// run forwards events. A watch works when an event arrives, or when it stays open without
// any. A watch that started before the server was restored ends.
func (o *observed) run(ctx context.Context, end time.Duration) {
	settled := time.NewTimer(veryShort)
	defer settled.Stop()
	over, quiet := time.NewTimer(end), time.NewTimer(o.link.timeouts.quiet)
	defer over.Stop()
	defer quiet.Stop()
	if end == 0 {
		over.Stop()
	}
	quiet.Stop() // until the server has sent a bookmark
	regular := false
	behind, restored := o.link.sink.behind()
	for !behind {
		select {
		case <-restored:
			behind, restored = o.link.sink.behind()
		case <-o.stopped:
			return
		case <-settled.C:
			o.works = true
			o.link.sink.health.works()
		case <-over.C:
			o.link.failed(ctx, fmt.Errorf("%w: still open %v after its requested end", errStuck, o.link.timeouts.over))
			return
		case <-quiet.C:
			o.link.failed(ctx, fmt.Errorf("%w: no event and no bookmark for %v", errStuck, o.link.timeouts.quiet))
			return
		case ev, open := <-o.upstream.ResultChan():
			if !open {
				if !o.works {
					o.link.failed(ctx, errShort)
				}
				return
			}
			bookmark, ends := bookmarks(ev)
			regular = regular || bookmark && !ends
			if regular {
				quiet.Reset(o.link.timeouts.quiet)
			}
			if !o.pass(ctx, ev) {
				return
			}
			if ends {
				o.listed()
			}
		}
	}
}

// bookmarks reports whether an event is a bookmark and, if so, whether it ends a streamed list
// or is a periodic one.
func bookmarks(ev watch.Event) (is, endsList bool) {
	if ev.Type != watch.Bookmark {
		return false, false
	}
	m, err := meta.Accessor(ev.Object)
	if err != nil {
		return false, false
	}
	return true, m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}

// pass forwards an event; false: the receiver has stopped.
func (o *observed) pass(ctx context.Context, ev watch.Event) bool {
	if o.works = true; ev.Type == watch.Error {
		o.link.lost.Store(true) // the Reflector does not wait for the end of run
		o.link.failed(ctx, apierrors.FromObject(ev.Object))
	} else {
		o.link.sink.health.works()
	}
	select {
	case o.events <- ev:
		return true
	case <-o.stopped:
		return false
	}
}
