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

// patience is how long a server may say nothing until its watch counts as stuck: a proxy
// on the way has forgotten the connection, or the server has.
type patience struct {
	begin time.Duration // from the request to the head of the answer
	// quiet is between two bookmarks. An API server sends one a minute (k8s.io/apiserver,
	// storage/cacher, bookmarkFrequency); one that sends none is not held to it.
	quiet time.Duration
	over  time.Duration // past the end that the watch was asked for
}

var usual = patience{begin: 30 * time.Second, quiet: 3*time.Minute + 30*time.Second, over: 30 * time.Second}

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
			err = fmt.Errorf("%w within %v", errNoAnswer, l.patience.begin)
		}
		cancel(nil)
		if o.SendInitialEvents != nil && apierrors.IsInvalid(err) {
			return nil, err // an older server: the Reflector lists instead
		}
		l.lost.Store(true)
		l.failed(ctx, err)
		return nil, err
	}
	end := time.Duration(0)
	if o.TimeoutSeconds != nil {
		end = time.Duration(*o.TimeoutSeconds)*time.Second + l.patience.over
	}
	closed := func() {
		cancel(nil)
		leave()
	}
	return l.observe(ctx, w, end, leave, closed), nil
}

// open asks for a watch, and cancels ctx if the server lets it wait. The time runs from
// where the request leaves, which may be long after: it waits for its token before.
func (l *link) open(ctx context.Context, cancel context.CancelCauseFunc, o metav1.ListOptions) (watch.Interface, error) {
	late := time.AfterFunc(math.MaxInt64, func() { cancel(errNoAnswer) })
	trace := &httptrace.ClientTrace{GetConn: func(string) { late.Reset(l.patience.begin) }}
	w, err := l.request(o).Watch(httptrace.WithClientTrace(ctx, trace))
	if !late.Stop() && err == nil { // it came at the last moment
		w.Stop()
		err = errNoAnswer
	}
	return w, err
}

// veryShort is how long a watch must last to be one, as Reflectors see it.
const veryShort = time.Second

var (
	errShort    = errors.New("the watch ended at once: the connection is lost, or the server takes no watches")
	errNoAnswer = errors.New("the server does not answer")
	errStuck    = errors.New("the watch hangs")
)

// observed is a watch that tells what comes through it.
type observed struct {
	link     *link
	upstream watch.Interface
	events   chan watch.Event
	stopped  chan struct{}
	once     sync.Once
	works    bool
	listed   func() // called when a streamed list at its beginning is over
}

// ResultChan implements watch.Interface.
func (o *observed) ResultChan() <-chan watch.Event { return o.events }

// Stop implements watch.Interface.
func (o *observed) Stop() { o.once.Do(func() { close(o.stopped) }) }

// observe passes the events on, until the watch ends or is given up: at its end, if that
// is not 0, or because nothing comes that should. Then closed is called. The Reflector
// begins another one where this ended. Where the watch begins with a streamed list, listed
// is called at the bookmark that ends it.
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
		l.lost.Store(end == 0 || time.Since(begin) < end-l.patience.over-veryShort)
	}()
	return o
}

// run passes events on. A watch works when an event comes, or when it stays open although
// none does. One that began before the server was restored ends.
func (o *observed) run(ctx context.Context, end time.Duration) {
	settled := time.NewTimer(veryShort)
	defer settled.Stop()
	over, quiet := time.NewTimer(end), time.NewTimer(o.link.patience.quiet)
	defer over.Stop()
	defer quiet.Stop()
	if end == 0 {
		over.Stop()
	}
	quiet.Stop() // until the server shows that it sends bookmarks
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
			o.link.failed(ctx, fmt.Errorf("%w: it is open %v after it was to end", errStuck, o.link.patience.over))
			return
		case <-quiet.C:
			o.link.failed(ctx, fmt.Errorf("%w: no event and no bookmark for %v", errStuck, o.link.patience.quiet))
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
				quiet.Reset(o.link.patience.quiet)
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

// bookmarks reports whether an event is a bookmark, and if so, whether it is the one that
// ends a streamed list rather than one of those that come from time to time.
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

// pass hands an event over; false: nobody wants it any more.
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
