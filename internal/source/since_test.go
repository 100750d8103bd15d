package source

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func TestSince(t *testing.T) {
	at := func(second int) metav1.Time { return metav1.NewTime(time.Date(2026, 6, 1, 12, 0, second, 0, time.UTC)) }
	written := func(second int, subresource string) metav1.ManagedFieldsEntry {
		when := at(second)
		return metav1.ManagedFieldsEntry{Time: &when, Subresource: subresource}
	}
	meta := metav1.ObjectMeta{CreationTimestamp: at(1), ManagedFields: []metav1.ManagedFieldsEntry{
		written(2, ""), written(4, ""), written(3, ""), written(9, "status"), {},
	}}
	slice := func(manager, trigger string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: meta}
		s.Labels = map[string]string{discoveryv1.LabelManagedBy: manager}
		if trigger != "" {
			s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: trigger}
		}
		return s
	}
	exact := time.Date(2026, 6, 1, 12, 0, 5, 123456789, time.UTC)
	for name, tt := range map[string]struct {
		obj      any
		want     time.Time
		exact    bool
		selector bool
	}{
		"service":              {&corev1.Service{ObjectMeta: meta}, at(4).Time, false, false},
		"new service":          {&corev1.Service{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(1)}}, at(1).Time, false, false},
		"service with pods":    {&corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}, time.Time{}, false, true},
		"slice":                {slice(sliceController, exact.Format(time.RFC3339Nano)), exact, true, true},
		"slice without cause":  {slice(sliceController, ""), time.Time{}, false, true},
		"slice that is broken": {slice(sliceController, "noon"), time.Time{}, false, true},
		"slice by hand":        {slice("", ""), at(4).Time, false, false},
		"slice of a mirror":    {slice("endpointslicemirroring-controller.k8s.io", exact.Format(time.RFC3339Nano)), exact, true, false},
		"another kind":         {&corev1.Namespace{ObjectMeta: meta}, time.Time{}, false, false},
	} {
		got, isExact := Since(tt.obj)
		if !got.Equal(tt.want) || isExact != tt.exact || FromSelector(tt.obj) != tt.selector {
			t.Errorf("%s: %v, exact %v, by selector %v; want %v, %v, %v", name, got, isExact, FromSelector(tt.obj), tt.want, tt.exact, tt.selector)
		}
	}
}

func TestServiceVersion(t *testing.T) {
	o, _ := Convert(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", ResourceVersion: "17"}}, Options{})
	if s, ok := o.(*cluster.Service); !ok || s.Version != 17 {
		t.Errorf("%+v, want version 17", o)
	}
}
