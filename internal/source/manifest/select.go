package manifest

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// selection selects objects in the files, like the options of a watch. The zero value
// selects everything.
type selection struct {
	kinds           []cluster.Kind  // empty: all
	labels          labels.Selector // of Services, EndpointSlices and pods; nil: all
	namespaces      []string        // empty: all
	namespaceLabels labels.Selector // nil: all
}

func (o *Options) selection() (selection, error) {
	s := selection{kinds: o.Kinds, namespaces: o.Namespaces}
	for _, each := range []struct {
		name, text string
		to         *labels.Selector
	}{{"label selector", o.LabelSelector, &s.labels}, {"namespace selector", o.NamespaceSelector, &s.namespaceLabels}} {
		if each.text == "" {
			continue
		}
		var err error
		if *each.to, err = labels.Parse(each.text); err != nil {
			return s, fmt.Errorf("%s %q: %w: want a selector like app=web,tier!=test", each.name, each.text, err)
		}
	}
	return s, nil
}

// takes reports whether an object is selected as far as the object itself shows; obj is its
// API form.
func (s *selection) takes(obj any, o cluster.Object) bool {
	ref := o.Ref()
	if !s.takesKind(ref.Kind) {
		return false
	}
	switch {
	case ref.Kind == cluster.KindNamespace: // those named are there anyway
		return len(s.namespaces) == 0 && matches(s.namespaceLabels, obj)
	case !ref.Kind.Namespaced():
		return true
	}
	return (len(s.namespaces) == 0 || slices.Contains(s.namespaces, ref.Key.Namespace)) && matches(s.labels, obj)
}

func (s *selection) takesKind(k cluster.Kind) bool {
	return len(s.kinds) == 0 || slices.Contains(s.kinds, k)
}

// namespaceOf returns the namespace of an object; for a Namespace its own name.
func namespaceOf(ref cluster.Ref) string {
	if ref.Kind == cluster.KindNamespace {
		return ref.Key.Name
	}
	return ref.Key.Namespace
}

func matches(selector labels.Selector, obj any) bool {
	if selector == nil {
		return true
	}
	m, err := meta.Accessor(obj)
	return err == nil && selector.Matches(labels.Set(m.GetLabels()))
}
