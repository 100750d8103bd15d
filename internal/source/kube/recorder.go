package kube

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/loglimit"
)

// Bounds of a Recorder.
const (
	mostNotes    = 256                    // that wait; more are dropped, the log has them all
	mostTold     = 4096                   // that are remembered
	notePause    = 100 * time.Millisecond // between two: the API server is for others, too
	noteSpread   = 30 * time.Second       // within which nodes write what they have to say alike
	notePeriod   = 10 * time.Minute
	mostOfOne    = 5    // of a Service in a notePeriod; Events of other Services go on
	mostOfAll    = 600  // of all Services in a notePeriod
	longestNote  = 1024 // of a message, in bytes: the API's limit
	notePatience = 10 * time.Second
)

// Recorder writes Events about Services and its own node. The name of an Event follows from what it says:
// what many nodes have to say alike is one object, and what a process says again after a
// restart is no second one. Make one with NewRecorder and start Run.
type Recorder struct {
	client    *rest.RESTClient
	component string
	node      string
	logf      func(level, format string, args ...any)
	notes     chan note
	told      map[string]bool // names, only of Run
	spread    time.Duration   // noteSpread
	ofOne     *loglimit.Limiter
	ofAll     *loglimit.Limiter
	refused   bool // people know that there is no right for it, only of Run
}

type note struct {
	service         cluster.Key // zero: it is about the node
	reason, message string
	at              time.Time
	normal          bool // it is no warning
}

// NewRecorder returns a Recorder for a component on a node.
func NewRecorder(rc *rest.Config, component, node string, logf func(level, format string, args ...any)) (*Recorder, error) {
	clients, err := newClients(rc, logf)
	if err != nil {
		return nil, err
	}
	return &Recorder{
		client: clients.of(cluster.KindService), component: component, node: node, logf: logf,
		notes: make(chan note, mostNotes), told: map[string]bool{}, spread: noteSpread,
		ofOne: loglimit.NewLimiter(mostOfOne, notePeriod), ofAll: loglimit.NewLimiter(mostOfAll, notePeriod),
	}, nil
}

// Event asks for an Event of type Warning. It does not wait, and is safe for concurrent
// use.
func (r *Recorder) Event(service cluster.Key, reason, message string) {
	select {
	case r.notes <- note{service: service, reason: reason, message: message, at: time.Now()}:
	default:
	}
}

// NodeEvent asks for an Event about the Recorder's node, of type Normal or Warning. Each is one of its own:
// what was said before may be true again. It does not wait, and is safe for concurrent use.
func (r *Recorder) NodeEvent(normal bool, reason, message string) {
	select {
	case r.notes <- note{reason: reason, message: message, at: time.Now(), normal: normal}:
	default:
	}
}

// Run writes until ctx is done. What cannot be written is dropped: the log has it.
func (r *Recorder) Run(ctx context.Context) {
	var last time.Time
	for {
		var n note
		select {
		case <-ctx.Done():
			return
		case n = <-r.notes:
		}
		pause := notePause
		if n.service != (cluster.Key{}) && time.Since(last) >= r.spread { // nodes that have the same to say do not say it at once
			pause = rand.N(r.spread + notePause)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		r.take(ctx, n)
		last = time.Now()
	}
}

// take writes what was not written before, up to the bounds: the log has the rest.
func (r *Recorder) take(ctx context.Context, n note) {
	name, now := r.name(n), time.Now()
	r.ofOne.Due(now)
	r.ofAll.Due(now)
	ofService := n.service != (cluster.Key{})
	if r.told[name] || ofService && !r.ofOne.Allow(n.service.String(), now) || !r.ofAll.Allow("", now) {
		return
	}
	if len(r.told) >= mostTold {
		clear(r.told)
	}
	r.told[name] = true
	r.write(ctx, n)
}

// name is that of the Service with a number that follows from the rest, or that of the node with the time.
func (r *Recorder) name(n note) string {
	if n.service == (cluster.Key{}) {
		return fmt.Sprintf("%s.%x", r.node, n.at.UnixNano())
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%v\x00%s\x00%s", n.service, n.reason, n.message)
	return fmt.Sprintf("%s.%016x", n.service.Name, h.Sum64())
}

func (r *Recorder) write(ctx context.Context, n note) {
	ctx, cancel := context.WithTimeout(ctx, notePatience)
	defer cancel()
	at := metav1.NewTime(n.at)
	about, kind := r.about(ctx, n), corev1.EventTypeWarning
	if n.normal {
		kind = corev1.EventTypeNormal
	}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault), Name: r.name(n)},
		InvolvedObject: about,
		Type:           kind, Reason: n.reason, Message: loglimit.Cut(n.message, longestNote),
		Source:              corev1.EventSource{Component: r.component, Host: r.node},
		ReportingController: r.component, ReportingInstance: r.node,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	err := r.client.Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
	switch {
	case err == nil || apierrors.IsAlreadyExists(err) || ctx.Err() != nil:
	case apierrors.IsForbidden(err) && r.refused:
	case apierrors.IsForbidden(err):
		r.refused = true
		r.logf("warning", "writing an Event about the %s %s: %v: want a ClusterRole with the verb create on events; what Events would say is in this log alone", about.Kind, about.Name, err)
	default:
		r.logf("warning", "writing an Event about the %s %s: %v", about.Kind, about.Name, err)
	}
}

// about is the object of an Event. A kubelet's Events about its node have the node's name for a UID, and
// kubectl describe looks for that.
func (r *Recorder) about(ctx context.Context, n note) corev1.ObjectReference {
	if n.service == (cluster.Key{}) {
		return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: r.node, UID: types.UID(r.node)}
	}
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: n.service.Namespace, Name: n.service.Name, UID: r.uid(ctx, n.service),
	}
}

// uid asks for what kubectl describe finds Events by; "" if it is not to be had. A list of
// one, because that is what we have the right to.
func (r *Recorder) uid(ctx context.Context, service cluster.Key) types.UID {
	var list corev1.ServiceList
	err := r.client.Get().Namespace(service.Namespace).Resource("services").VersionedParams(&metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", service.Name).String(), Limit: 1,
	}, metav1.ParameterCodec).Do(ctx).Into(&list)
	if err != nil || len(list.Items) == 0 {
		return ""
	}
	return list.Items[0].UID
}
