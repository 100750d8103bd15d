package source

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Options select what Convert reads from API objects.
type Options struct {
	// NamesOnly ignores what only routes need: the policies of Services, and the nodes and
	// hints of endpoints. A DNS server does not need to keep them.
	NamesOnly bool
	// PodNames uses the name of its pod as label of an endpoint without hostname
	// (`endpoint_pod_names`), if that name is a single valid label.
	PodNames bool
	// PodLabels keeps the labels of pods, for expressions about the client's pod.
	PodLabels bool
	// Imported reads EndpointSlices as those of ServiceImports, by the labels with the
	// names of the import and of the cluster of the endpoints.
	Imported bool
}

// Convert converts an API object to ours. It accepts *corev1.Service,
// *discoveryv1.EndpointSlice, *corev1.Namespace, *corev1.Pod, *corev1.Node,
// *networkingv1.ServiceCIDR and *mcsv1alpha1.ServiceImport. For any other type, and for an
// object without meaning for us (an EndpointSlice without Service, a pod that has
// ended), it returns a nil Object.
//
// The result shares no memory with obj, and Convert does not modify obj. It is safe for
// concurrent use.
func Convert(obj any, o Options) (cluster.Object, []Problem) {
	switch obj := obj.(type) {
	case *corev1.Service:
		return convertService(obj, o)
	case *discoveryv1.EndpointSlice:
		if o.Imported {
			return convertImportedSlice(obj, o)
		}
		return convertSlice(obj, o)
	case *mcsv1alpha1.ServiceImport:
		return convertImport(obj)
	case *corev1.Namespace:
		return convertNamespace(obj)
	case *corev1.Pod:
		return convertPod(obj, o)
	case *corev1.Node:
		return convertNode(obj)
	case *networkingv1.ServiceCIDR:
		return convertServiceCIDR(obj)
	}
	return nil, nil
}

// Version parses a resourceVersion as the number that it is since KEP-5504. It returns 0
// for anything else.
func Version(resourceVersion string) uint64 {
	v, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
