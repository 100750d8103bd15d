package source

import (
	"errors"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	head := func(kind string) string { return `{"apiVersion":"` + apiVersions[kind] + `","kind":"` + kind + `",` }
	for _, c := range []struct{ name, json, problem, err string }{
		{"good", head("Service") + `"metadata":{"name":"web"}}`, "", ""},
		{"namespace is kept", head("Pod") + `"metadata":{"name":"web","namespace":"x"},"spec":{"nope":1}}`,
			`pods x/web: spec.nope "unknown field": want a field that the API has, once; it is ignored`, ""},
		{"case matters", head("Service") + `"metadata":{"name":"web"},"spec":{"clusterip":"10.0.0.1"}}`,
			`services default/web: spec.clusterip "unknown field": want a field that the API has, once; it is ignored`, ""},
		{"twice", head("Node") + `"metadata":{"name":"n","name":"m"}}`,
			`nodes m: metadata.name "duplicate field": want a field that the API has, once; it is ignored`, ""},
		{"number", head("Service") + `"spec":{"ports":[{"port":"80"}]}}`, "",
			"spec.ports.port: got string, want a whole number below 2147483648"},
		{"too great a number", head("Service") + `"spec":{"ports":[{"port":2147483648}]}}`, "",
			"spec.ports.port: got number 2147483648, want a whole number below 2147483648"},
		{"text", head("Service") + `"spec":{"clusterIP":10}}`, "", "spec.clusterIP: got number, want text (in quotes)"},
		{"bool", head("EndpointSlice") + `"endpoints":[{"conditions":{"ready":"yes"}}]}`, "",
			"endpoints.conditions.ready: got string, want true or false"},
		{"list", head("EndpointSlice") + `"endpoints":{}}`, "", "endpoints: got object, want a list"},
		{"mapping", head("Namespace") + `"metadata":[]}`, "", "metadata: got array, want a mapping"},
		{"time", head("Namespace") + `"metadata":{"creationTimestamp":"now"}}`, "", "read the object: parsing time"},
		{"cut off", head("Namespace"), "", "read the object: "},
		{"no kind", `{"apiVersion":"v1"}`, "", "read the object: Object 'Kind' is missing"},
		{"other kind", `{"apiVersion":"apps/v1","kind":"Deployment"}`, "", ErrOtherKind.Error()},
		{"other version", `{"apiVersion":"discovery.k8s.io/v1beta1","kind":"EndpointSlice"}`, "", ErrOtherKind.Error()},
		{"empty", ``, "", "read the object: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			obj, unknown, err := Decode([]byte(c.json))
			got := ""
			if len(unknown) == 1 {
				got = unknown[0].String()
			}
			if got != c.problem || len(unknown) > 1 {
				t.Errorf("problems %v, want %q", unknown, c.problem)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if (obj == nil) != (err != nil) {
				t.Errorf("object %v with error %v", obj, err)
			}
			if errors.Is(err, ErrOtherKind) != (c.err == ErrOtherKind.Error()) {
				t.Errorf("error %v", err)
			}
		})
	}
}
