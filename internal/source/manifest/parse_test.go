package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// doc is a Service of one line; in a YAML file several are joined by "---\n".
func doc(name, clusterIP string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {clusterIP: %s}}\n", name, clusterIP)
}

// says lists what a file says: kind, key and line of its objects, how many
// documents it passes over, its problems, or why it is broken.
func says(name, content string) []string {
	f, err := parse(name, []byte(content), source.Options{}, &selection{})
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, ref := range slices.SortedFunc(maps.Keys(f.byRef), compareRefs) {
		out = append(out, fmt.Sprintf("%v %v:%d", ref.Kind, ref.Key, f.byRef[ref].line))
	}
	if f.passedOver > 0 {
		out = append(out, fmt.Sprintf("passed over %d", f.passedOver))
	}
	for _, p := range f.problems {
		out = append(out, p.String())
	}
	return out
}

func TestParse(t *testing.T) {
	const (
		meta = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
		ip   = "spec: {clusterIP: 10.0.0.1}\n"
	)
	for _, c := range []struct {
		name, file, content string
		want                []string
	}{
		{"empty", "f.yaml", "", nil},
		{"comments only", "f.yaml", "# nothing\n---\n\n# here\n...\n", nil},
		{"one", "f.yaml", meta + ip, []string{"services default/a:1"}},
		{"no newline at the end", "f.yaml", meta + "spec: {clusterIP: 10.0.0.1}", []string{"services default/a:1"}},
		{"windows line ends", "f.yaml", strings.ReplaceAll("---\n"+meta+ip+"---\n"+doc("b", "None"), "\n", "\r\n"),
			[]string{"services default/a:2", "services default/b:7"}},
		{"several documents, comments between", "f.yaml", "# x\n---\n# y\n\n" + meta + ip + "---\n---\n# z\n--- # w\n" + doc("b", "None"),
			[]string{"services default/a:5", "services default/b:13"}},
		{"content after the marker", "f.yaml", "--- " + doc("a", "None") + "---\t" + doc("b", "None"),
			[]string{"services default/a:1", "services default/b:2"}},
		{"document end markers", "f.yaml", doc("a", "None") + "...\n" + doc("b", "None") + "... # c\n",
			[]string{"services default/a:1", "services default/b:3"}},
		{"directives", "f.yaml", "%YAML 1.1\n---\n" + doc("a", "None"), []string{"services default/a:3"}},
		{"a marker inside a text", "f.yaml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: |\n    ---\n    a: b\n   \n", []string{"passed over 1"}},
		{"anchors", "f.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: &n a, labels: {app: *n}}\nspec: {clusterIP: None}\n",
			[]string{"services default/a:1"}},
		{"every kind", "f.yaml", doc("a", "None") +
			"---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: a-1, namespace: x, labels: {kubernetes.io/service-name: a}}, endpoints: []}\n" +
			"---\n{apiVersion: v1, kind: Namespace, metadata: {name: x}}\n" +
			"---\n{apiVersion: v1, kind: Pod, metadata: {name: p}, status: {podIP: 10.1.0.1}}\n" +
			"---\n{apiVersion: v1, kind: Node, metadata: {name: n1}}\n" +
			"---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {anything: goes}}\n" +
			"---\n{apiVersion: example.org/v1, kind: Service, metadata: {name: other}}\n",
			[]string{"services default/a:1", "endpointslices x/a-1:3", "namespaces x:5", "pods default/p:7", "nodes n1:9", "passed over 2"}},
		{"an object without anything for us", "f.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: p}}\n", nil},
		{"list", "f.yaml", "apiVersion: v1\nkind: List\nitems:\n- " + doc("a", "None") + "- apiVersion: apps/v1\n  kind: Deployment\n- " + doc("b", "None") + "- null\n",
			[]string{"services default/a:4", "services default/b:7", "passed over 1"}},
		{"list in a list", "f.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - " + doc("a", "None"),
			[]string{"services default/a:7"}},
		{"typed lists, whose items need no kind", "f.yaml", "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n  spec: {clusterIP: None}\n" +
			"---\napiVersion: v1\nkind: NodeList\nitems: [{metadata: {name: n1}}]\n" +
			"---\napiVersion: v1\nkind: NamespaceList\nitems: [{metadata: {name: x}}]\n" +
			"---\napiVersion: v1\nkind: PodList\nitems: [{metadata: {name: p}, status: {podIP: 10.1.0.1}}]\n" +
			"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nitems: [{addressType: IPv4, metadata: {name: s, labels: {kubernetes.io/service-name: a}}}]\n" +
			"---\napiVersion: apps/v1\nkind: DeploymentList\nitems: [{}]\n",
			[]string{"services default/a:4", "endpointslices default/s:21", "namespaces x:13", "pods default/p:17", "nodes n1:9", "passed over 1"}},
		{"twice in one file", "f.yaml", doc("a", "None") + "---\n" + doc("a", "10.0.0.1"),
			[]string{"services default/a:3", `f.yaml:3: services default/a: also in "f.yaml:1": want each object in one place; the later one counts (file name, then line)`}},
		{"problems have the lines of their fields", "f.yaml", "---\n# x\n" + meta + "spec:\n  clusterIP: 10.0.0.256\n  clusterip: x\n  ports:\n  - name: a\n    port: 80\n  - name: b\n    port: 70000\n",
			[]string{
				"services default/a:3",
				`f.yaml:8: services default/a: spec.clusterip "unknown field": want a field that the API has, once; it is ignored`,
				`f.yaml:13: services default/a: spec.ports[1].port "70000": want 1 to 65535; this port is left out`,
				`f.yaml:7: services default/a: spec.clusterIP "10.0.0.256": want an address, or None; without one the name has no address`,
			}},
		{"problem of a missing field, in a list", "f.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: a\n  spec:\n    ports: []\n",
			[]string{"services default/a:4",
				`f.yaml:8: services default/a: spec.clusterIP "": want an address, or None; without one the name has no address`}},
		{"problem at a label", "f.yaml", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: a\n  labels:\n    x: z\n    kubernetes.io/service-name: A\naddressType: IPv4\n",
			[]string{`f.yaml:7: endpointslices default/a: metadata.labels[kubernetes.io/service-name] "A": want a DNS label (RFC 1123, lower case); this object is left out`}},
		{"problem behind an anchor", "f.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: &x {k: z}}\n\nspec:\n  clusterIP: None\n  selector: *x\n  ports:\n  - &p {port: 0}\n  - *p\n",
			[]string{"services default/a:1",
				`f.yaml:9: services default/a: spec.ports[0].port "0": want 1 to 65535; this port is left out`,
				`f.yaml:9: services default/a: spec.ports[1].port "0": want 1 to 65535; this port is left out`}},

		{"broken: indentation", "f.yaml", doc("a", "None") + "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: b\n spec: {}\n",
			[]string{"line 7: did not find expected key: want YAML"}},
		{"broken: colon", "f.yaml", meta + "spec: clusterIP: None\n", []string{"line 4: mapping values are not allowed in this context: want YAML"}},
		{"broken: tab", "f.yaml", meta + "spec:\n\tclusterIP: None\n", []string{"line 5: found character that cannot start any token: want YAML"}},
		{"broken: brackets", "f.yaml", "---\n" + meta + "spec: {ports: [{port: 80}\n", []string{"line 5: did not find expected ',' or ']': want YAML"}},
		{"broken: quotes, in the last line at most", "f.yaml", meta + "spec: 'x\n\n", []string{"line 4: found unexpected end of stream: want YAML"}},
		{"broken: a key twice", "f.yaml", meta + "metadata: {name: b}\n", []string{`line 4: key "metadata" already set in map: want YAML`}},
		{"broken: unknown anchor", "f.yaml", "---\na: *b\n", []string{"line 1: unknown anchor 'b' referenced: want YAML"}},
		{"broken: anchor in itself", "f.yaml", "a: &a [*a]\n", []string{"line 1: anchor 'a' value contains itself: want YAML"}},
		{"broken: not a number", "f.yaml", "kind: .nan\n", []string{"line 1: json: unsupported value: NaN: want YAML"}},
		{"broken: binary", "f.yaml", "\x00\x01", []string{"line 1: control characters are not allowed: want YAML"}},
		{"broken: type", "f.yaml", "---\n" + meta + "spec:\n  ports:\n  - port: http\n",
			[]string{"line 6: spec.ports.port is string: want a whole number below 2147483648"}},
		{"broken: yes is true in YAML 1.1", "f.yaml", "---\n" + meta + "spec:\n  externalName: yes\n",
			[]string{"line 6: spec.externalName is bool: want text (in quotes)"}},
		{"broken: time", "f.yaml", "apiVersion: v1\nkind: Service\nmetadata: {creationTimestamp: now}\n",
			[]string{`line 1: read the object: parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006": want an object of the Kubernetes API`}},
		{"broken: no kind", "f.yaml", doc("a", "None") + "---\n\nmetadata: {name: b}\n",
			[]string{"line 4: this is no object of the Kubernetes API: want apiVersion and kind"}},
		{"broken: a list of objects", "f.yaml", "- " + doc("a", "None"), []string{"line 1: this is no object of the Kubernetes API: want apiVersion and kind"}},
		{"broken: prose", "f.yaml", "hello\n", []string{"line 1: this is no object of the Kubernetes API: want apiVersion and kind"}},
		{"broken: item without kind", "f.yaml", "apiVersion: v1\nkind: List\nitems:\n- " + doc("a", "None") + "- metadata: {name: b}\n",
			[]string{"line 5: this is no object of the Kubernetes API: want apiVersion and kind"}},
		{"broken: item that is text", "f.yaml", "apiVersion: v1\nkind: NodeList\nitems: [x]\n",
			[]string{"line 3: this is no object of the Kubernetes API: want apiVersion and kind"}},
		{"broken: items", "f.yaml", "apiVersion: v1\nkind: List\nitems: x\n", []string{"line 1: this is no object of the Kubernetes API: want apiVersion and kind"}},

		{"json", "f.json", "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"a\"},\n\t\"spec\": {\"clusterIP\": \"None\"}\n}\n", []string{"services default/a:1"}},
		{"json, several", "f.json", "\n{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}\n\nnull {\"apiVersion\":\"v1\",\n\"kind\":\"Namespace\",\"metadata\":{\"name\":\"A\"}}",
			[]string{"namespaces a:2", `f.json:5: namespaces A: metadata.name "A": want a DNS label (RFC 1123, lower case); this object is left out`}},
		{"json in a yaml file", "f.yml", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}", []string{"namespaces a:1"}},
		{"json: a field twice", "f.json", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\n\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
			[]string{"namespaces b:1", `f.json:2: namespaces b: metadata.name "duplicate field": want a field that the API has, once; it is ignored`}},
		{"broken: json syntax", "f.json", "{\n\"a\": 1,\n}", []string{"line 3: invalid character '}' looking for beginning of object key string: want JSON"}},
		{"broken: json cut off", "f.json", "{}\n{\n\"a\": 1,\n", []string{"line 1: this is no object of the Kubernetes API: want apiVersion and kind"}},
		{"broken: json cut off later", "f.json", "null\n{\n\"a\": 1,\n", []string{"line 4: unexpected EOF: want JSON"}},
		{"broken: yaml in a json file", "f.json", "a: b\n", []string{"line 1: invalid character 'a' looking for beginning of value: want JSON"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, says(c.file, c.content)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestVersionComesFromTheFile(t *testing.T) {
	f, err := parse("f.yaml", []byte(`{apiVersion: v1, kind: Namespace, metadata: {name: a, resourceVersion: "17"}}`), source.Options{}, &selection{})
	if err != nil {
		t.Fatal(err)
	}
	if it := f.byRef[cluster.Ref{Kind: cluster.KindNamespace, Key: cluster.Key{Name: "a"}}]; it.version != 17 {
		t.Errorf("version %d", it.version)
	}
}

// TestSumsTellObjectsApart: comments and layout do not matter, content does.
func TestSumsTellObjectsApart(t *testing.T) {
	sum := func(content string) any {
		f, err := parse("f.yaml", []byte(content), source.Options{}, &selection{})
		if err != nil || len(f.byRef) != 1 {
			t.Fatal(f, err)
		}
		for _, it := range f.byRef {
			return it.sum
		}
		return nil
	}
	if sum(doc("a", "None")) != sum("# comment\nkind: Service\napiVersion: v1\nspec:\n  clusterIP: None\nmetadata:\n  name: a\n") {
		t.Error("the same object has two sums")
	}
	if sum(doc("a", "None")) == sum(doc("a", "10.0.0.1")) {
		t.Error("two objects have one sum")
	}
}

// FuzzParse: no content makes the parser panic, what it says is in the file, and
// all its messages are one line.
func FuzzParse(f *testing.F) {
	f.Add("f.yaml", "# x\n---\n"+doc("a", "None")+"...\n--- # y\n"+doc("b", "10.0.0.256"))
	f.Add("f.yaml", "apiVersion: v1\nkind: List\nitems: [{}, {apiVersion: v1, kind: Pod, spec: {x: 1}}]\n")
	f.Add("f.yaml", "a: &a [*a, <<: *b]\n")
	f.Add("f.json", `{"apiVersion":"v1","kind":"NodeList","items":[{"metadata":{"name":"n"}}]}`)
	f.Fuzz(func(t *testing.T, name, content string) {
		lines := 1 + strings.Count(content, "\n")
		out, err := parse(name, []byte(content), source.Options{}, &selection{})
		if err != nil {
			b, ok := err.(*broken)
			if !ok || b.line < 1 || b.line > lines+1 || b.what == "" || b.want == "" {
				t.Errorf("%d lines, error %#v", lines, err)
			}
			return
		}
		for ref, it := range out.byRef {
			if it.object.Ref() != ref || it.line < 1 || it.line > lines {
				t.Errorf("%v: %v in line %d of %d", ref, it.object, it.line, lines)
			}
		}
		for _, p := range out.problems {
			if strings.ContainsAny(p.String(), "\n\r") {
				t.Errorf("message %q", p)
			}
		}
	})
}
