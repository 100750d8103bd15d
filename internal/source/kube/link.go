package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// resource describes one kind in the API.
type resource struct {
	group  schema.GroupVersion
	name   string
	object runtime.Object
	fields string // field selector
	labels string // label selector that applies to all objects of the kind
	// optional: the sync does not wait for a server that lacks the resource or refuses it.
	optional bool
	asked    bool // the user configured it, so its absence is logged
}

// resources are all kinds, by cluster.Kind. The server filters out pods that have ended:
// other pods may use their addresses by now.
var resources = [...]resource{
	cluster.KindService:   {group: corev1.SchemeGroupVersion, name: "services", object: &corev1.Service{}},
	cluster.KindSlice:     {group: discoveryv1.SchemeGroupVersion, name: "endpointslices", object: &discoveryv1.EndpointSlice{}},
	cluster.KindNamespace: {group: corev1.SchemeGroupVersion, name: "namespaces", object: &corev1.Namespace{}},
	cluster.KindPod: {
		group: corev1.SchemeGroupVersion, name: "pods", object: &corev1.Pod{},
		fields: "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown",
	},
	cluster.KindNode: {group: corev1.SchemeGroupVersion, name: "nodes", object: &corev1.Node{}},
	cluster.KindServiceCIDR: { // since Kubernetes 1.33
		group: networkingv1.SchemeGroupVersion, name: "servicecidrs", object: &networkingv1.ServiceCIDR{}, optional: true,
	},
	cluster.KindServiceImport: { // a CustomResourceDefinition
		group: mcsv1alpha1.SchemeGroupVersion, name: "serviceimports", object: &mcsv1alpha1.ServiceImport{}, optional: true, asked: true,
	},
	cluster.KindImportedSlice: {
		group: discoveryv1.SchemeGroupVersion, name: "endpointslices", object: &discoveryv1.EndpointSlice{},
		labels: mcsv1alpha1.LabelServiceName,
	},
}

// clients are the REST clients of the API groups; they share their connections.
type clients struct {
	http    *http.Client
	byGroup map[schema.GroupVersion]*rest.RESTClient
}

func (c *clients) of(kind cluster.Kind) *rest.RESTClient { return c.byGroup[resources[kind].group] }

// newClients creates clients for these kinds only. The clientset of client-go would link the
// whole API.
func newClients(rc *rest.Config, logf func(level, format string, args ...any)) (*clients, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion,
		&corev1.Service{}, &corev1.ServiceList{}, &corev1.Namespace{}, &corev1.NamespaceList{},
		&corev1.Pod{}, &corev1.PodList{}, &corev1.Node{}, &corev1.NodeList{}, &corev1.Event{})
	scheme.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	scheme.AddKnownTypes(mcsv1alpha1.SchemeGroupVersion, &mcsv1alpha1.ServiceImport{}, &mcsv1alpha1.ServiceImportList{})
	scheme.AddKnownTypes(networkingv1.SchemeGroupVersion, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{})

	rc = rest.CopyConfig(rc)
	limitRate(rc)
	rc.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	rc.WarningHandlerWithContext = warnings(logf)
	out := &clients{byGroup: map[schema.GroupVersion]*rest.RESTClient{}}
	var err error
	if out.http, err = rest.HTTPClientFor(rc); err != nil {
		return nil, fmt.Errorf("prepare connections to %s: %w", rc.Host, err)
	}
	for _, r := range resources {
		if out.byGroup[r.group] != nil {
			continue
		}
		metav1.AddToGroupVersion(scheme, r.group)
		rc.APIPath, rc.GroupVersion = "/apis", &r.group
		if r.group.Group == "" {
			rc.APIPath = "/api"
		}
		if out.byGroup[r.group], err = rest.RESTClientForConfigAndClient(rc, out.http); err != nil {
			return nil, fmt.Errorf("prepare requests to %s: %w", rc.Host, err)
		}
	}
	return out, nil
}

// warnings logs the Warning headers of responses (deprecated API versions).
type warnings func(level, format string, args ...any)

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w("debug", "the API server warns: %s", text)
}

// link lists and watches one kind, and records the results, because a Reflector does not
// return most errors.
type link struct {
	resource  *resource
	namespace string // empty: all
	client    *rest.RESTClient
	selector  string // label selector
	fields    string // field selector
	sink      *sink
	into      cache.ReflectorStore // the sink, or what stands before it
	gate      gate
	calls     *sync.RWMutex
	timeouts  timeouts
	lost      atomic.Bool // the previous watch did not end as requested
}

// listWatch returns what a Reflector lists and watches with. A Reflector lists in a goroutine
// that it does not wait for, with a context that is never done; here lists end with ctx.
func (l *link) listWatch(ctx context.Context) *cache.ListWatch {
	list := func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) { return l.list(ctx, o) }
	return &cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: l.watch}
}

func (l *link) request(o metav1.ListOptions) *rest.Request {
	o.LabelSelector, o.FieldSelector = l.selector, l.fields
	o.ResourceVersion = l.sink.from(o.ResourceVersion)
	return l.client.Get().NamespaceIfScoped(l.namespace, l.namespace != "").Resource(l.resource.name).VersionedParams(&o, metav1.ParameterCodec)
}

// listTimeout ends a list that the server started and abandoned; without it, no watch would
// start. The server itself limits a list to one minute.
const listTimeout = 90 * time.Second

// list fetches one page and converts it before the next one.
func (l *link) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.Continue == "" {
		l.sink.seeks()
	}
	page, err := l.page(ctx, listTimeout, o)
	if err != nil {
		return nil, err
	}
	out := &metainternal.List{}
	if m, err := meta.ListAccessor(page); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	}
	err = meta.EachListItem(page, func(obj runtime.Object) error {
		out.Items = append(out.Items, l.sink.item(obj))
		return nil
	})
	return out, err
}

// page fetches one page unchanged, within a time.
func (l *link) page(ctx context.Context, within time.Duration, o metav1.ListOptions) (runtime.Object, error) {
	l.calls.RLock()
	defer l.calls.RUnlock()
	leave, err := l.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	limited, cancel := context.WithTimeoutCause(ctx, within, errNoAnswer)
	defer cancel()
	page, err := l.request(o).Do(limited).Get()
	if err != nil {
		if errors.Is(context.Cause(limited), errNoAnswer) {
			err = fmt.Errorf("%w within %v", errNoAnswer, within)
		}
		l.failed(ctx, err)
	}
	return page, err
}

// failed records an error, unless it is our own shutdown or an ordinary relist. The sync does
// not wait for an optional resource that is unavailable; that is logged once.
func (l *link) failed(ctx context.Context, err error) {
	absent := apierrors.IsNotFound(err)
	older := l.resource.optional && absent && !l.resource.asked // an older server, as it may be
	if !older && ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		l.sink.health.failed(err)
	}
	if l.resource.optional && (absent || apierrors.IsForbidden(err)) {
		l.sink.without()
	}
}
