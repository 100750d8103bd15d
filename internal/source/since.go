package source

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sliceController is who writes the EndpointSlices of Services with a selector.
const sliceController = "endpointslice-controller.k8s.io"

// Since tells when what an object says came to be; the zero time if that cannot be
// told. For EndpointSlices of the controller it is the change of the Service or pod
// that made the controller write, exact to the nanosecond. For Services, and for
// EndpointSlices that others write, it is the last write of more than the status,
// which the API notes in whole seconds: exact is false.
func Since(obj any) (t time.Time, exact bool) {
	switch obj := obj.(type) {
	case *discoveryv1.EndpointSlice:
		if text, ok := obj.Annotations[corev1.EndpointsLastChangeTriggerTime]; ok {
			t, err := time.Parse(time.RFC3339Nano, text)
			return t, err == nil
		}
		if FromSelector(obj) {
			return time.Time{}, false // it wrote for another reason
		}
		return lastWrite(&obj.ObjectMeta), false
	case *corev1.Service:
		return lastWrite(&obj.ObjectMeta), false
	}
	return time.Time{}, false
}

// FromSelector reports whether endpoints are found by a selector: those of a
// Service, or those in an EndpointSlice.
func FromSelector(obj any) bool {
	switch obj := obj.(type) {
	case *discoveryv1.EndpointSlice:
		return obj.Labels[discoveryv1.LabelManagedBy] == sliceController
	case *corev1.Service:
		return len(obj.Spec.Selector) > 0
	}
	return false
}

func lastWrite(m *metav1.ObjectMeta) time.Time {
	last := m.CreationTimestamp.Time
	for i := range m.ManagedFields {
		if f := &m.ManagedFields[i]; f.Subresource == "" && f.Time != nil && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	return last
}
