package source

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sliceController is the value of the managed-by label of EndpointSlices that the controller writes.
const sliceController = "endpointslice-controller.k8s.io"

// Since returns the time of the change that an object shows, or the zero time if it is
// unknown. For EndpointSlices of the controller it is the change of the Service or pod
// that triggered the write, with full precision. For Services, and for EndpointSlices
// of other writers, it is the last write outside the status, for which the API records
// whole seconds: exact is false.
func Since(obj any) (t time.Time, exact bool) {
	switch obj := obj.(type) {
	case *discoveryv1.EndpointSlice:
		if text, ok := obj.Annotations[corev1.EndpointsLastChangeTriggerTime]; ok {
			t, err := time.Parse(time.RFC3339Nano, text)
			return t, err == nil
		}
		if FromSelector(obj) {
			return time.Time{}, false // the controller wrote for another reason
		}
		return lastWrite(&obj.ObjectMeta), false
	case *corev1.Service:
		return lastWrite(&obj.ObjectMeta), false
	}
	return time.Time{}, false
}

// FromSelector reports whether a selector determines the endpoints of a Service or of an
// EndpointSlice.
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
