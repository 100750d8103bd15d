package api

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// codecs know the API's own kinds and the one of a CustomResourceDefinition.
var codecs = func() serializer.CodecFactory {
	all := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(all))
	utilruntime.Must(mcsv1alpha1.Install(all))
	return serializer.NewCodecFactory(all)
}()

// resource is the path of a kind's collection.
type resource string

const (
	services   resource = "/api/v1/services"
	namespaces resource = "/api/v1/namespaces"
	pods       resource = "/api/v1/pods"
	nodes      resource = "/api/v1/nodes"
	slicesPath resource = "/apis/discovery.k8s.io/v1/endpointslices"
	cidrs      resource = "/apis/networking.k8s.io/v1/servicecidrs"
	imports    resource = "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports"
)

// kinds are the objects that the API has.
var kinds = map[resource]schema.GroupVersionKind{
	services:   corev1.SchemeGroupVersion.WithKind("Service"),
	namespaces: corev1.SchemeGroupVersion.WithKind("Namespace"),
	pods:       corev1.SchemeGroupVersion.WithKind("Pod"),
	nodes:      corev1.SchemeGroupVersion.WithKind("Node"),
	slicesPath: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
	cidrs:      networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"),
	imports:    mcsv1alpha1.SchemeGroupVersion.WithKind("ServiceImport"),
}

// identify tells where an object belongs; a kind that the API does not have fails
// the test.
func (s *Server) identify(o runtime.Object) (resource, string) {
	s.t.Helper()
	m, err := meta.Accessor(o)
	if err != nil {
		s.t.Fatalf("the test API takes objects with metadata, not %T: %v", o, err)
	}
	key := m.GetNamespace() + "/" + m.GetName()
	switch o.(type) {
	case *corev1.Service:
		return services, key
	case *corev1.Namespace:
		return namespaces, key
	case *corev1.Pod:
		return pods, key
	case *corev1.Node:
		return nodes, key
	case *discoveryv1.EndpointSlice:
		return slicesPath, key
	case *networkingv1.ServiceCIDR:
		return cidrs, key
	case *mcsv1alpha1.ServiceImport:
		return imports, key
	}
	s.t.Fatalf("the test API has no kind %T", o)
	return "", ""
}

// newObject is an empty object of a kind, as bookmarks carry it.
func newObject(r resource) runtime.Object {
	switch r {
	case services:
		return &corev1.Service{}
	case namespaces:
		return &corev1.Namespace{}
	case pods:
		return &corev1.Pod{}
	case nodes:
		return &corev1.Node{}
	case cidrs:
		return &networkingv1.ServiceCIDR{}
	case imports:
		return &mcsv1alpha1.ServiceImport{}
	}
	return &discoveryv1.EndpointSlice{}
}

// newList is an empty list of a kind.
func newList(r resource) runtime.Object {
	switch r {
	case services:
		return &corev1.ServiceList{}
	case namespaces:
		return &corev1.NamespaceList{}
	case pods:
		return &corev1.PodList{}
	case nodes:
		return &corev1.NodeList{}
	case cidrs:
		return &networkingv1.ServiceCIDRList{}
	case imports:
		return &mcsv1alpha1.ServiceImportList{}
	}
	return &discoveryv1.EndpointSliceList{}
}

// selector is what a request asks to see.
type selector struct {
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

// matches reports whether an object is to be seen; a nil object is not.
func (s selector) matches(o runtime.Object) bool {
	if o == nil {
		return false
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return false
	}
	set := fields.Set{"metadata.name": m.GetName(), "metadata.namespace": m.GetNamespace()}
	switch o := o.(type) {
	case *corev1.Service:
		set["spec.clusterIP"], set["spec.type"] = o.Spec.ClusterIP, string(o.Spec.Type)
	case *corev1.Pod:
		set["status.phase"], set["spec.nodeName"] = string(o.Status.Phase), o.Spec.NodeName
	}
	return (s.namespace == "" || m.GetNamespace() == s.namespace) &&
		s.labels.Matches(labels.Set(m.GetLabels())) && s.fields.Matches(set)
}
