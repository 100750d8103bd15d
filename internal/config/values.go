package config

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// wrongTypes reports every field of a file whose value has the wrong type; nil: all are right.
func wrongTypes(tree map[string]any) error {
	k := checker{fromFile: true}
	seen := map[string]bool{}
	walk("", reflect.ValueOf(v1alpha1.KubeProxyConfiguration{}), func(path string, v reflect.Value) {
		at, value := valueAt(tree, path)
		if value == nil || seen[at] {
			return
		}
		seen[at] = true
		given, err := json.Marshal(value)
		switch {
		case err != nil:
		case at != path:
			k.wrong(at, string(given), "fields below it, such as "+path)
		case json.Unmarshal(given, reflect.New(v.Type()).Interface()) != nil:
			k.wrong(path, string(given), valueOf(v.Type()))
		}
	})
	return errors.Join(k.found...)
}

// valueAt returns the value at a path of a file, and the path. If a section on the way has the wrong type, it returns that.
func valueAt(tree map[string]any, path string) (at string, value any) {
	name, below, deeper := strings.Cut(path, ".")
	value = tree[name]
	section, isSection := value.(map[string]any)
	if !deeper || value == nil || !isSection {
		return name, value
	}
	at, value = valueAt(section, below)
	return name + "." + at, value
}

// valueOf describes the values of a type.
func valueOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[metav1.Duration](), reflect.TypeFor[logsapi.TimeOrMetaDuration]():
		return "a time with its unit, such as 30s"
	case reflect.TypeFor[map[string]bool]():
		return "names with true or false, such as {AllowServiceExternalIPs: false}"
	case reflect.TypeFor[logsapi.VModuleConfiguration]():
		return "a list of {filePattern: NAME, verbosity: NUMBER}"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int32, reflect.Uint32:
		return "a whole number of at most 32 bits"
	case reflect.Float32:
		return "a number"
	case reflect.Slice:
		return "a list of strings, such as [primary]"
	case reflect.String:
		return "a string"
	}
	return "a size, such as 64Ki" // of a buffer
}
