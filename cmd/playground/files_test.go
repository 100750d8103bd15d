//go:build linux

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

func TestReadExamples(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	all, err := readExamples(filepath.Join(root, "manifests", "examples"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range all.workloads {
		got = append(got, fmt.Sprintf("%s %s/%s %d", w.kind, w.meta.Namespace, w.meta.Name, w.replicas))
	}
	for _, s := range all.services {
		got = append(got, fmt.Sprintf("Service %s/%s %s", s.Namespace, s.Name, s.Spec.ClusterIP))
		if selects := len(endpointSlices(withFamily(s), podsOf(all))) > 0; selects == (s.Name == "nobody-home") {
			t.Errorf("service %s: selects pods %v", s.Name, selects)
		}
	}
	want := "StatefulSet default/store 2, Deployment default/web 3, " +
		"Service default/store None, Service default/web 10.96.0.80, Service default/web-udp , " +
		"Service default/nobody-home , Service default/web-headless None"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
}

func withFamily(s *corev1.Service) *corev1.Service {
	s = s.DeepCopy()
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	return s
}

// podsOf makes one pod of each workload.
func podsOf(e examples) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, w := range e.workloads {
		pod := w.newPod(0, "node-1", "abcde")
		pod.Status.PodIPs = []corev1.PodIP{{IP: "10.244.1.2"}}
		pods = append(pods, pod)
	}
	return pods
}

func TestParseExamples(t *testing.T) {
	for _, tt := range []struct{ name, text, err string }{
		{"a Service", "apiVersion: v1\nkind: Service\nmetadata: {name: a}", ""},
		{"comments only", "# nothing\n---\n# here\n", ""},
		{"misspelt field", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {port: []}", `document 1: `},
		{"second document", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\n", "document 2: v1 Secret is not played here: expected v1 Service, "},
		{"no name", "apiVersion: apps/v1\nkind: Deployment\n", "metadata.name is missing"},
		{"wrong version", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}", "apps/v1beta1 Deployment is not played here"},
		{"no YAML", "a: b: c", "document 1: "},
		{"wrong type", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: many}", "document 1: "},
	} {
		var e examples
		err := e.parse([]byte(tt.text))
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.err)
		}
	}
	if _, err := readExamples(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no *.yaml") {
		t.Errorf("empty folder: got %v", err)
	}
}

func FuzzParseExamples(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n")
	f.Add("---\n---\n{}")
	f.Fuzz(func(t *testing.T, text string) {
		var e examples
		if e.parse([]byte(text)) != nil {
			return
		}
		for _, s := range e.services {
			if s.Name == "" || s.Namespace == "" {
				t.Errorf("a service without name or namespace from %q", text)
			}
		}
	})
}

// TestFolder replaces the content of a folder at random: it must hold what was last asked for, and only what changed gets
// a new version.
func TestFolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scratch, err := os.MkdirTemp("", "folder-test-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(scratch)
		f, err := newFolder(scratch)
		if err != nil {
			t.Fatal(err)
		}
		want, versions := map[string]string{}, map[string]string{}
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			next := rapid.MapOf(rapid.SampledFrom([]string{"a.yaml", "b.yaml", "c.yaml"}), rapid.SampledFrom([]string{"x", "y"})).Draw(t, "files")
			files := map[string][]metav1.Object{}
			for name, label := range next {
				files[name] = []metav1.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: label}}}
			}
			if err := f.replace(files); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, name := range fileNames(t, f.dir) {
				object := new(corev1.Namespace)
				text, err := os.ReadFile(filepath.Join(f.dir, name))
				if err == nil {
					err = yaml.UnmarshalStrict(text, object)
				}
				if err != nil {
					t.Fatal(err)
				}
				got[name] = object.Name
				if same := want[name] == object.Name; same != (versions[name] == object.ResourceVersion) {
					t.Fatalf("%s: version %s became %s, content %q became %q", name, versions[name], object.ResourceVersion, want[name], object.Name)
				}
				if number, err := strconv.Atoi(object.ResourceVersion); err != nil || number > f.version {
					t.Fatalf("version %q, the last is %d", object.ResourceVersion, f.version)
				}
				versions[name] = object.ResourceVersion
			}
			if !maps.Equal(got, next) || len(fileNames(t, f.staging)) > 0 {
				t.Fatalf("got %v, want %v; in the making %v", got, next, fileNames(t, f.staging))
			}
			maps.DeleteFunc(versions, func(name, _ string) bool { _, ok := next[name]; return !ok })
			want = next
		}
	})
}

func fileNames(t *rapid.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPods(t *testing.T) {
	deployment := &workload{kind: "Deployment", meta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	deployment.template.Labels = map[string]string{"app": "web"}
	set := &workload{kind: "StatefulSet", meta: metav1.ObjectMeta{Name: "store", Namespace: "default"}, service: "stores"}
	pod := deployment.newPod(4, "node-2", "abcde")
	if name := pod.Name; !strings.HasPrefix(name, "web-") || !strings.HasSuffix(name, "-abcde") || pod.Spec.NodeName != "node-2" {
		t.Errorf("got pod %s on %s", name, pod.Spec.NodeName)
	}
	pod.Labels["app"] = "changed"
	if again := deployment.newPod(5, "node-1", "fghij"); again.Labels["app"] != "web" {
		t.Error("two pods share their labels")
	}
	if pod := set.newPod(1, "node-1", "abcde"); pod.Name != "store-1" || pod.Spec.Hostname != "store-1" || pod.Spec.Subdomain != "stores" {
		t.Errorf("got pod %s, host name %s.%s", pod.Name, pod.Spec.Hostname, pod.Spec.Subdomain)
	}
	other := &workload{kind: "Deployment", meta: deployment.meta, template: corev1.PodTemplateSpec{}}
	if other.templateHash() == deployment.templateHash() {
		t.Error("two templates have one hash")
	}
}

func TestChooseNode(t *testing.T) {
	nodes, pods, got := []string{"a", "b", "c"}, []*corev1.Pod{}, []string{}
	for range 7 {
		node := chooseNode(nodes, pods)
		got = append(got, node)
		pods = append(pods, &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}})
	}
	if want := []string{"a", "b", "c", "a", "b", "c", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseOptions(t *testing.T) {
	for _, tt := range []struct {
		args    []string
		command string
		ok      bool
	}{
		{nil, "", true},
		{[]string{"-coredns", "x"}, "", true},
		{[]string{"--", "ls", "-l"}, "ls -l", true},
		{[]string{"-coredns", "x", "--", "ls", "--", "-l"}, "ls -- -l", true},
		{[]string{"--"}, "", true},
		{[]string{"ls"}, "", false},
		{[]string{"-coredns", "x", "ls"}, "", false},
		{[]string{"-nothing"}, "", false},
	} {
		o, err := parseOptions(tt.args, new(strings.Builder))
		if (err == nil) != tt.ok || tt.ok && strings.Join(o.command, " ") != tt.command {
			t.Errorf("%v: got command %v, error %v", tt.args, o.command, err)
		}
	}
}
