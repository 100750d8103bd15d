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

// Limits of a Recorder.
const (
	mostNotes    = 256                    // queued; further ones are dropped, and the log has all
	mostTold     = 4096                   // remembered
	notePause    = 100 * time.Millisecond // between two Events, to limit the load on the API server
	noteSpread   = 30 * time.Second       // random delay of Events that many nodes write alike
	notePeriod   = 10 * time.Minute
	mostOfOne    = 5    // per Service in a notePeriod
	mostOfAll    = 600  // for all Services in a notePeriod
	longestNote  = 1024 // bytes of a message: the API's limit
	notePatience = 10 * time.Second
)

// Recorder writes Events about Services and its own node. The name of an Event is a hash of
// its content, so Events that many nodes write alike are one object, and a restarted process
// does not write a second one. Create one with NewRecorder and start Run.
type Recorder struct {
	client    *rest.RESTClient
	component string
	node      string
	logf      func(level, format string, args ...any)
	notes     chan note
	told      map[string]bool // names of written Events; only Run uses it
	spread    time.Duration   // noteSpread
	ofOne     *loglimit.Limiter
	ofAll     *loglimit.Limiter
	refused   bool // the missing right is logged; only Run uses it
}

type note struct {
	service         cluster.Key // zero: the Event is about the node
	reason, message string
	at              time.Time
	normal          bool // type Normal instead of Warning
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

// Event queues an Event of type Warning. It does not block and is safe for concurrent
// use.
func (r *Recorder) Event(service cluster.Key, reason, message string) {
	select {
	case r.notes <- note{service: service, reason: reason, message: message, at: time.Now()}:
	default:
	}
}

// NodeEvent queues an Event about the Recorder's node, of type Normal or Warning. Each call writes a new one, because
// an earlier message may hold again. It does not block and is safe for concurrent use.
func (r *Recorder) NodeEvent(normal bool, reason, message string) {
	select {
	case r.notes <- note{reason: reason, message: message, at: time.Now(), normal: normal}:
	default:
	}
}

// Run writes queued Events until ctx is done. It drops Events that cannot be written; the log has them.
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
		if n.service != (cluster.Key{}) && time.Since(last) >= r.spread { // avoids that all nodes write at once
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

// take writes an Event that was not written before, within the limits.
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

// name returns the name of the Service with a hash of the content, or the name of the node with the time.
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
		r.logf("warning", "write an Event about the %s %s: %v: want a ClusterRole with the verb create on events; until then only this log has the messages", about.Kind, about.Name, err)
	default:
		r.logf("warning", "write an Event about the %s %s: %v", about.Kind, about.Name, err)
	}
}

// about returns the object of an Event. A kubelet's Events about its node have the node's name as UID, and
// kubectl describe selects by that.
func (r *Recorder) about(ctx context.Context, n note) corev1.ObjectReference {
	if n.service == (cluster.Key{}) {
		return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: r.node, UID: types.UID(r.node)}
	}
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: n.service.Namespace, Name: n.service.Name, UID: r.uid(ctx, n.service),
	}
}

// uid returns the UID of a Service, by which kubectl describe selects Events, or "". It lists with
// a limit of one, because the forwarder has the right to list, not to get.
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
