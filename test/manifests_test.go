package test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	manifests = root + "/manifests"
	fresh     = manifests + "/overlays/fresh"
	kubeadm   = manifests + "/overlays/kubeadm"
)

// strict refuses unknown and repeated fields: a misspelt field in a manifest is
// silently nothing in the cluster.
var strict = serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

func TestEveryManifestDecodesStrictly(t *testing.T) {
	n := 0
	for _, path := range manifestFiles(t) {
		if filepath.Base(path) == "kustomization.yaml" {
			continue // kustomize itself reads these strictly, see render
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := decode(data)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		n += len(objects)
	}
	if n == 0 {
		t.Fatal("no object found: this test looks in the wrong place")
	}
}

func TestStrictDecodingRefusesAMisspeltField(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":  "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterip: 10.96.0.10}\n",
		"repeated field": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ClusterIP, type: NodePort}\n",
		"unknown kind":   "apiVersion: v1\nkind: Servise\nmetadata: {name: a}\n",
		"second bad":     "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\nkind: Service\n",
	} {
		if _, err := decode([]byte(text)); err == nil {
			t.Errorf("%s: decoded without an error", name)
		}
	}
}

// TestEveryManifestIsReachable: a file that no kustomization names is applied by
// nobody and rots. Overlays and components are what a user names.
func TestEveryManifestIsReachable(t *testing.T) {
	seen := map[string]bool{}
	for _, pattern := range []string{"overlays/*", "components/*"} {
		dirs, err := filepath.Glob(filepath.Join(manifests, pattern))
		if err != nil || len(dirs) == 0 {
			t.Fatalf("%s: %d folders, %v", pattern, len(dirs), err)
		}
		for _, dir := range dirs {
			follow(t, dir, seen)
		}
	}
	for _, path := range manifestFiles(t) {
		if strings.HasPrefix(path, manifests+"/examples/") {
			continue // read as a folder by the playground, applied by no kustomization
		}
		if !seen[path] {
			t.Errorf("%s: no overlay or component leads to it", path)
		}
	}
}

// follow marks a kustomization and all that it names.
func follow(t *testing.T, dir string, seen map[string]bool) {
	t.Helper()
	path := filepath.Join(dir, "kustomization.yaml")
	if seen[path] {
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen[path] = true
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	named := append(k.Resources, k.Components...)
	for _, p := range k.Patches {
		if p.Path != "" {
			named = append(named, p.Path)
		}
	}
	for _, name := range named {
		target := filepath.Join(dir, name)
		info, err := os.Stat(target)
		switch {
		case err != nil:
			t.Errorf("%s names %s: %v", path, name, err)
		case info.IsDir():
			follow(t, target, seen)
		default:
			seen[target] = true
		}
	}
}

func TestOverlaysHoldExactly(t *testing.T) {
	for _, c := range []struct {
		name, dir string
		want      []string
	}{
		{"a fresh cluster gets everything", fresh, []string{
			"ClusterRole system:coredns",
			"ClusterRole system:signpost-forwarder",
			"ClusterRoleBinding system:coredns",
			"ClusterRoleBinding system:signpost-forwarder",
			"ConfigMap kube-system/coredns",
			"ConfigMap kube-system/signpost-forwarder",
			"DaemonSet kube-system/signpost-forwarder",
			"Deployment kube-system/coredns",
			"PodDisruptionBudget kube-system/coredns",
			"Service kube-system/kube-dns",
			"ServiceAccount kube-system/coredns",
			"ServiceAccount kube-system/signpost-forwarder",
		}},
		{"a kubeadm cluster keeps its ConfigMaps and its Service", kubeadm, []string{
			"ClusterRole system:coredns:signpost",
			"ClusterRoleBinding system:coredns:signpost",
			"DaemonSet kube-system/kube-proxy",
			"Deployment kube-system/coredns",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for name := range render(t, c.dir) {
				got = append(got, name)
			}
			if diff := cmp.Diff(c.want, sorted(got)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigMapHoldsCorefileExample(t *testing.T) {
	want, err := os.ReadFile(root + "/Corefile.example")
	if err != nil {
		t.Fatal(err)
	}
	m := object[*corev1.ConfigMap](t, render(t, fresh), "ConfigMap kube-system/coredns")
	if diff := cmp.Diff(string(want), m.Data["Corefile"]); diff != "" {
		t.Errorf("Corefile.example and the ConfigMap differ (-example +configmap):\n%s", diff)
	}
	if len(m.Data) != 1 || len(m.BinaryData) != 0 {
		t.Errorf("the ConfigMap has keys beside the Corefile: %v", m.Data)
	}
}

// TestRolesAreLeast names each right that the two programs use and nothing more.
// TestCorefiles compares the plugin's list with what the process asks the API for,
// TestApply runs the forwarder on what it is granted.
func TestRolesAreLeast(t *testing.T) {
	withPods := overlay(t, "resources: [FRESH]\ncomponents: [PODS]\n")
	names := rights("namespaces", "services", "discovery.k8s.io/endpointslices")
	vips := sorted(append(rights("nodes", "services", "discovery.k8s.io/endpointslices", "networking.k8s.io/servicecidrs"), "create events"))
	for _, c := range []struct {
		name, dir, account string
		want               []string
	}{
		{"fresh", fresh, "coredns", names},
		{"kubeadm", kubeadm, "coredns", names},
		{"with pods verified", withPods, "coredns", rights("namespaces", "services", "pods", "discovery.k8s.io/endpointslices")},
		{"with multicluster", overlay(t, "resources: [KUBEADM]\ncomponents: [CLUSTERSET]\n"), "coredns",
			rights("namespaces", "services", "discovery.k8s.io/endpointslices", "multicluster.x-k8s.io/serviceimports")},
		{"the forwarder", withPods, "signpost-forwarder", vips},
		{"the forwarder as kube-proxy", kubeadm, "kube-proxy", nil}, // has what kubeadm grants
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, granted(t, render(t, c.dir), c.account)); diff != "" {
				t.Errorf("rights of the ServiceAccount %s (-want +got):\n%s", c.account, diff)
			}
		})
	}
}

// rights spells list and watch on each resource, sorted.
func rights(resources ...string) []string {
	var all []string
	for _, r := range resources {
		all = append(all, "list "+r, "watch "+r)
	}
	return sorted(all)
}

// granted walks binding → role and returns what an account of kube-system may do.
// Any rule that is wider than verbs on whole resources is an error.
func granted(t *testing.T, objects map[string]runtime.Object, account string) []string {
	t.Helper()
	var all []string
	for name, o := range objects {
		b, ok := o.(*rbacv1.ClusterRoleBinding)
		if !ok {
			continue
		}
		// A binding is called after its account, and is for nobody else.
		whose, _, _ := strings.Cut(strings.TrimPrefix(b.Name, "system:"), ":")
		only := rbacv1.Subject{Kind: "ServiceAccount", Name: whose, Namespace: "kube-system"}
		if len(b.Subjects) != 1 || b.Subjects[0] != only {
			t.Errorf("%s: subjects %v, want only %v", name, b.Subjects, only)
		}
		if whose != account {
			continue
		}
		role := object[*rbacv1.ClusterRole](t, objects, b.RoleRef.Kind+" "+b.RoleRef.Name)
		if role.AggregationRule != nil {
			t.Errorf("%s: an aggregated role grants what others add to it", name)
		}
		for _, r := range role.Rules {
			if len(r.ResourceNames)+len(r.NonResourceURLs) > 0 {
				t.Errorf("%s: unexpected rule %v", name, r)
			}
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						all = append(all, verb+" "+strings.TrimPrefix(group+"/"+resource, "/"))
					}
				}
			}
		}
	}
	return sorted(all)
}

func TestEverySelectorFindsThePods(t *testing.T) {
	objects := render(t, fresh)
	d := object[*appsv1.Deployment](t, objects, "Deployment kube-system/coredns")
	s := object[*corev1.Service](t, objects, "Service kube-system/kube-dns")
	b := object[*policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget kube-system/coredns")
	spec := d.Spec.Template.Spec
	selectors := map[string]map[string]string{
		"Deployment":          d.Spec.Selector.MatchLabels,
		"Service":             s.Spec.Selector,
		"PodDisruptionBudget": b.Spec.Selector.MatchLabels,
	}
	for _, c := range spec.TopologySpreadConstraints {
		selectors["spread over "+c.TopologyKey] = c.LabelSelector.MatchLabels
	}
	for _, a := range spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		selectors["away from "+a.PodAffinityTerm.TopologyKey] = a.PodAffinityTerm.LabelSelector.MatchLabels
	}
	for _, want := range []string{
		"spread over topology.kubernetes.io/zone", "spread over kubernetes.io/hostname", "away from kubernetes.io/hostname",
	} {
		if selectors[want] == nil {
			t.Errorf("the Deployment does not say: %s", want)
		}
	}
	// The label that kubelet flags, NodeLocal DNSCache and network policies select by.
	convention := map[string]string{"k8s-app": "kube-dns"}
	for name, got := range selectors {
		if diff := cmp.Diff(convention, got); diff != "" {
			t.Errorf("%s selects (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(convention, d.Spec.Template.Labels); diff != "" {
		t.Errorf("labels of the pods (-want +got):\n%s", diff)
	}
}

// manifestFiles returns every YAML file of the manifests folder.
func manifestFiles(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(manifests, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml")) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// decode reads every document of a YAML stream strictly.
func decode(data []byte) ([]runtime.Object, error) {
	var objects []runtime.Object
	var errs []error
	docs := utilyaml.NewYAMLReader(newReader(data))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return objects, errors.Join(errs...)
		}
		if err != nil {
			return objects, errors.Join(append(errs, err)...)
		}
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		o, _, err := strict.Decode(doc, nil, nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		objects = append(objects, o)
	}
}

// render builds a kustomization with the code that kubectl apply -k runs, and
// decodes what it would send, by "Kind namespace/name".
func render(t *testing.T, dir string) map[string]runtime.Object {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("build %s: %v", dir, err)
	}
	data, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(data)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	byName := map[string]runtime.Object{}
	for _, o := range objects {
		m, err := meta.Accessor(o)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(m.GetNamespace()+"/"+m.GetName(), "/")
		byName[o.GetObjectKind().GroupVersionKind().Kind+" "+name] = o
	}
	return byName
}

// object picks one rendered object with its type.
func object[T runtime.Object](t *testing.T, objects map[string]runtime.Object, name string) T {
	t.Helper()
	o, ok := objects[name].(T)
	if !ok {
		t.Fatalf("no %s among the rendered objects", name)
	}
	return o
}

// overlay writes a kustomization as a user would, beside the repository's own.
// FRESH, KUBEADM, PODS, SNAPSHOT, NAMESPACED, CLUSTERSET, POLICY and UNPRIVILEGED stand for the folders.
func overlay(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	for word, target := range map[string]string{
		"FRESH": fresh, "KUBEADM": kubeadm, "PODS": manifests + "/components/pods-verified",
		"SNAPSHOT": manifests + "/components/snapshot", "NAMESPACED": manifests + "/components/namespaced",
		"CLUSTERSET": manifests + "/components/multicluster", "POLICY": manifests + "/components/networkpolicy",
		"UNPRIVILEGED": manifests + "/components/kubeadm-unprivileged",
	} {
		abs, err := filepath.Abs(target)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(dir, abs)
		if err != nil {
			t.Fatal(err)
		}
		body = strings.ReplaceAll(body, word, rel)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
