package source

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Options are choices of the user that decide what an API object means to us.
type Options struct {
	// NamesOnly leaves out what only routes need: the policies of Services, and the
	// nodes and hints of endpoints. Who answers names does not keep what others write there.
	NamesOnly bool
	// PodNames gives an endpoint without hostname the name of its pod as label
	// (`endpoint_pod_names`), where that name is usable as one label.
	PodNames bool
	// PodLabels keeps the labels of pods, for expressions about the client.
	PodLabels bool
	// Imported reads EndpointSlices as those of ServiceImports, by the labels that
	// name these and the cluster where the endpoints are.
	Imported bool
}

// Convert turns an object of the API into ours. It takes *corev1.Service,
// *discoveryv1.EndpointSlice, *corev1.Namespace, *corev1.Pod, *corev1.Node,
// *networkingv1.ServiceCIDR and *mcsv1alpha1.ServiceImport; any other type, and an
// object that has nothing for us (an EndpointSlice of no Service, a pod that has
// ended), gives a nil Object.
//
// The result shares no memory with obj, which stays as it is. Convert may be
// called from any number of goroutines.
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

// Version reads a resourceVersion as the number that it is since KEP-5504; 0 if
// it is none.
func Version(resourceVersion string) uint64 {
	v, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
