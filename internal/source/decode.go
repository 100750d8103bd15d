package source

import (
	"cmp"
	gojson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// decoder reads JSON as the API server does for `kubectl apply`: it is case-sensitive
// and reports unknown fields.
var decoder = strictDecoder()

// strictDecoder returns a decoder for the kinds that Convert accepts.
func strictDecoder() *json.Serializer {
	s := runtime.NewScheme()
	s.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Service{}, &corev1.Namespace{}, &corev1.Pod{}, &corev1.Node{})
	s.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{})
	s.AddKnownTypes(networkingv1.SchemeGroupVersion, &networkingv1.ServiceCIDR{})
	s.AddKnownTypes(mcsv1alpha1.SchemeGroupVersion, &mcsv1alpha1.ServiceImport{})
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Strict: true})
}

// ErrOtherKind is returned by Decode for a kind that Convert does not accept.
var ErrOtherKind = errors.New("an object of another kind")

// Decode reads one object in the JSON form of the API, for Convert. It ignores and reports
// unknown fields. A value of the wrong type is an error (a *TypeError), because the meaning
// of the remaining object is then uncertain. As in kubectl, an object without namespace is
// in `default`.
func Decode(data []byte) (obj any, unknown []Problem, err error) {
	o, _, err := decoder.Decode(data, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		return nil, nil, ErrOtherKind
	}
	strict, _ := runtime.AsStrictDecodingError(err)
	if err != nil && strict == nil {
		return nil, nil, readable(err)
	}
	ref := place(o)
	if strict != nil {
		for _, e := range strict.Errors() {
			unknown = append(unknown, unknownField(ref, e.Error()))
		}
	}
	return o, unknown, nil
}

// place sets a missing namespace and returns the reference of the object.
func place(o runtime.Object) cluster.Ref {
	switch o := o.(type) {
	case *corev1.Service:
		return placed(cluster.KindService, &o.ObjectMeta)
	case *discoveryv1.EndpointSlice:
		return placed(cluster.KindSlice, &o.ObjectMeta)
	case *corev1.Pod:
		return placed(cluster.KindPod, &o.ObjectMeta)
	case *corev1.Namespace:
		return cluster.Ref{Kind: cluster.KindNamespace, Key: cluster.Key{Name: o.Name}}
	case *corev1.Node:
		return cluster.Ref{Kind: cluster.KindNode, Key: cluster.Key{Name: o.Name}}
	case *mcsv1alpha1.ServiceImport:
		return placed(cluster.KindServiceImport, &o.ObjectMeta)
	case *networkingv1.ServiceCIDR:
		return cluster.Ref{Kind: cluster.KindServiceCIDR, Key: cluster.Key{Name: o.Name}}
	}
	return cluster.Ref{}
}

func placed(kind cluster.Kind, m *metav1.ObjectMeta) cluster.Ref {
	if m.Namespace == "" {
		m.Namespace = metav1.NamespaceDefault
	}
	return cluster.Ref{Kind: kind, Key: cluster.Key{Namespace: m.Namespace, Name: m.Name}}
}

// unknownField parses the decoder's message: unknown field "spec.clusterIp".
func unknownField(ref cluster.Ref, message string) Problem {
	p := Problem{Ref: ref, Field: message, Want: wantKnownField}
	if what, path, ok := strings.Cut(message, ` "`); ok {
		p.Field, p.Value = cmp.Or(strings.TrimSuffix(path, `"`), `""`), what
	}
	return p
}

// TypeError reports a value of the wrong type.
type TypeError struct {
	Field string // path without indexes of lists: spec.ports.port
	Value string // type of the value: string, number 1.5, array, …
	Want  string
}

// Error implements error.
func (e *TypeError) Error() string {
	return fmt.Sprintf("%s: got %s, want %s", e.Field, e.Value, e.Want)
}

// readable converts an error of encoding/json, which names Go types, to terms of YAML.
func readable(err error) error {
	var wrong *gojson.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return fmt.Errorf("read the object: %.200w", err) // some errors repeat the whole object
	}
	e := &TypeError{Field: wrong.Field, Value: wrong.Value, Want: "a " + wrong.Type.String()}
	switch wrong.Type.Kind() {
	case reflect.String:
		e.Want = "text (in quotes)"
	case reflect.Bool:
		e.Want = "true or false"
	case reflect.Int32, reflect.Int64, reflect.Int:
		e.Want = "a whole number"
		if wrong.Type.Kind() == reflect.Int32 {
			e.Want += " below 2147483648"
		}
	case reflect.Slice:
		e.Want = "a list"
	case reflect.Map, reflect.Struct:
		e.Want = "a mapping"
	}
	return e
}
