package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/test/apiserver"
)

// TestApply gives the manifests to a real API server by the real kubectl, as the
// README says.
func TestApply(t *testing.T) {
	t.Run("a fresh cluster", func(t *testing.T) {
		api := apiserver.Start(t)
		// The wrong overlay first: it must be refused, and not leave half a Deployment.
		out, err := api.TryKubectl(t, moveCommand(t)...)
		for _, want := range []string{`"coredns" is invalid`, `"kube-proxy" is invalid`} {
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("overlays/kubeadm where there is no CoreDNS and no kube-proxy: kubectl says %q (%v), expected %s", out, err, want)
			}
		}
		api.Kubectl(t, "delete", "clusterrolebinding,clusterrole", "system:coredns:signpost")

		if out := api.Kubectl(t, "apply", "-k", fresh); strings.Contains(strings.ToLower(out), "warning") {
			t.Errorf("the API server warns:\n%s", out)
		}
		before := versions(t, api)
		api.Kubectl(t, "apply", "-k", fresh)
		if diff := cmp.Diff(before, versions(t, api)); diff != "" {
			t.Errorf("applied a second time it changes objects (-before +after):\n%s", diff)
		}
		authorized(t, api, "coredns", "services", "namespaces", "endpointslices.discovery.k8s.io")
		authorized(t, api, "signpost-forwarder", "services", "nodes", "endpointslices.discovery.k8s.io", "servicecidrs.networking.k8s.io")
		testForwarderReads(t, api)
		testEndpointConfigMap(t, api)
		testCleanupCommand(t, api)
	})
	t.Run("a kubeadm cluster", func(t *testing.T) { testApplyKubeadm(t, "create") })
	t.Run("a cluster whose owner applied it", func(t *testing.T) { testApplyKubeadm(t, "apply") })
}

// moveCommand is the README's command for a cluster that has its DNS and its proxy.
func moveCommand(t *testing.T) []string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ +kubectl (apply .*-k) manifests/overlays/kubeadm$`).FindAllStringSubmatch(readFile(t, root+"/README.md"), -1)
	if len(found) != 1 {
		t.Fatalf("README.md has %d commands that apply overlays/kubeadm, want 1", len(found))
	}
	return append(strings.Fields(found[0][1]), kubeadm)
}

// versions lists the objects of the fresh overlay with their resourceVersion.
func versions(t *testing.T, api *apiserver.Server) string {
	t.Helper()
	return api.Kubectl(t, "get", "-k", fresh, "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
}

// authorized asks the server's own authorizer what a pod's account may do: list
// and watch the resources named, and nothing else, but for the forwarder's Events.
func authorized(t *testing.T, api *apiserver.Server, account string, resources ...string) {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(api.Kubectl(t, "auth", "can-i", "--list", "--no-headers",
		"--as=system:serviceaccount:kube-system:"+account)) {
		// RESOURCE [URLS] [NAMES] [VERBS]; lines of URLs alone are what everybody may read.
		resource, rest, _ := strings.Cut(line, " ")
		if resource == "" || strings.Contains(resource, ".authorization.k8s.io") || strings.Contains(resource, ".authentication.k8s.io") {
			continue // everybody may ask who they are
		}
		got[resource] = strings.Join(strings.Fields(rest), " ")
	}
	want := map[string]string{}
	for _, r := range resources {
		want[r] = "[] [] [list watch]"
	}
	if account == "signpost-forwarder" {
		want["events"] = "[] [] [create]"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the ServiceAccount %s may do, by resource (-want +got):\n%s", account, diff)
	}
}

// endpointCommand is what a user types before the fresh overlay; three files show it.
var endpointCommand = regexp.MustCompile(`kubectl (-n kube-system create configmap kubernetes-services-endpoint) \\\n#? +(--from-literal=\S+ --from-literal=\S+)\n`)

// testEndpointConfigMap runs it and looks for the variables that client-go reads.
func testEndpointConfigMap(t *testing.T, api *apiserver.Server) {
	t.Helper()
	want := map[string]string{"KUBERNETES_SERVICE_HOST": "192.0.2.1", "KUBERNETES_SERVICE_PORT": "6443"}
	for _, path := range []string{root + "/README.md", fresh + "/kustomization.yaml", manifests + "/forwarder/kustomization.yaml"} {
		found := endpointCommand.FindAllStringSubmatch(readFile(t, path), -1)
		if len(found) != 1 {
			t.Errorf("%s has %d commands that create the ConfigMap kubernetes-services-endpoint, want 1", path, len(found))
			continue
		}
		command := strings.Replace(found[0][1]+" "+found[0][2], "=HOST", "=192.0.2.1", 1)
		api.Kubectl(t, strings.Fields(command)...)
		m := get[corev1.ConfigMap](t, api, "configmap/kubernetes-services-endpoint")
		if diff := cmp.Diff(want, m.Data); diff != "" {
			t.Errorf("the ConfigMap that the command of %s creates (-want +got):\n%s", path, diff)
		}
		api.Kubectl(t, "-n", "kube-system", "delete", "configmap", "kubernetes-services-endpoint")
	}
}

// testForwarderReads runs the real program with the token of its ServiceAccount:
// what the role grants is enough.
func testForwarderReads(t *testing.T, api *apiserver.Server) {
	t.Helper()
	put(t, api, "create", &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: "worker-1"},
	})
	cmd := exec.CommandContext(t.Context(), buildProgram(t, "forwarder"), "plan", "--hostname-override=worker-1",
		"--kubeconfig="+api.ServiceAccountKubeconfig(t, "kube-system", "signpost-forwarder"))
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "10.96.0.10 udp 53 ClusterIP kube-system/kube-dns:dns ") {
		t.Errorf("%v: %v, expected kube-dns at 10.96.0.10 among\n%s", cmd, err, out)
	}
}

// testCleanupCommand runs the README's way to remove the rules from a node: a pod
// that finds the node's network and may change it.
func testCleanupCommand(t *testing.T, api *apiserver.Server) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ +kubectl (debug node/NODE .*--image=signpost/forwarder:dev -- /forwarder .*)$`).
		FindAllStringSubmatch(readFile(t, root+"/README.md"), -1)
	if len(found) != 1 {
		t.Fatalf("README.md has %d commands that remove the forwarder's rules, want 1", len(found))
	}
	api.Kubectl(t, "-n", "kube-system", "create", "serviceaccount", "default") // which a controller would make
	api.Kubectl(t, append([]string{"-n", "kube-system"}, strings.Fields(strings.Replace(found[0][1], "NODE", "worker-1", 1))...)...)
	pods := get[corev1.PodList](t, api, "pods")
	if len(pods.Items) != 1 {
		t.Fatalf("%d pods, want 1", len(pods.Items))
	}
	pod := pods.Items[0].Spec
	c := pod.Containers[0]
	if pod.NodeName != "worker-1" || !pod.HostNetwork || c.SecurityContext == nil || c.SecurityContext.Privileged == nil || !*c.SecurityContext.Privileged {
		t.Errorf("on %s, host network %t, %v: want worker-1, its network and all privileges", pod.NodeName, pod.HostNetwork, c.SecurityContext)
	}
	if does, err := config.Load(c.Command[1:]); err != nil || c.Command[0] != "/forwarder" || !does.Flags.Cleanup {
		t.Errorf("it runs %q (%v), want the forwarder with --cleanup", c.Command, err)
	}
}

// testApplyKubeadm walks the way there and back on a cluster as kubeadm leaves it,
// changed by its owner. (There is no controller behind this API server, so the
// pods of the rollout are left out.) The verb of kubectl is how its objects came to be.
func testApplyKubeadm(t *testing.T, verb string) {
	api := apiserver.Start(t)
	theirs := kubeadmDeployment()
	corefile := readFile(t, "testdata/corefiles/kubeadm.Corefile")
	put(t, api, verb, theirs, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"},
		Data:       map[string]string{"Corefile": corefile, "zones.db": "kept"},
	})
	proxy, proxyConfig := kubeadmProxy()
	put(t, api, verb, proxy, proxyConfig)
	daemons := func() *appsv1.DaemonSet { return get[appsv1.DaemonSet](t, api, "daemonset/kube-proxy") }
	daemonsBefore, proxyConfigBefore := daemons(), get[corev1.ConfigMap](t, api, "configmap/kube-proxy")
	deployment := func() *appsv1.Deployment {
		return get[appsv1.Deployment](t, api, "deployment/coredns")
	}
	config := func() *corev1.ConfigMap { return get[corev1.ConfigMap](t, api, "configmap/coredns") }
	before, configBefore := deployment(), config()

	api.Kubectl(t, moveCommand(t)...)
	want := before.Spec.DeepCopy()
	want.Template.Spec.Containers[0].Image = "signpost/coredns:dev"
	if diff := cmp.Diff(*want, deployment().Spec); diff != "" {
		t.Errorf("the overlay changes more of the Deployment than the image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(configBefore, config()); diff != "" {
		t.Errorf("the overlay changes the ConfigMap (-want +got):\n%s", diff)
	}
	wantDaemons := daemonsBefore.Spec.DeepCopy()
	wantDaemons.Template.Spec.Containers[0].Image = "signpost/forwarder:dev"
	if diff := cmp.Diff(*wantDaemons, daemons().Spec); diff != "" {
		t.Errorf("the overlay changes more of the DaemonSet than the image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(proxyConfigBefore, get[corev1.ConfigMap](t, api, "configmap/kube-proxy")); diff != "" {
		t.Errorf("the overlay changes the ConfigMap of kube-proxy (-want +got):\n%s", diff)
	}

	migrate(t, api, "kubernetes", "signpost")
	if diff := cmp.Diff(map[string]string{"Corefile": oneWord(t, corefile), "zones.db": "kept"}, config().Data); diff != "" {
		t.Errorf("the Corefile after the README's command (-want +got):\n%s", diff)
	}
	migrate(t, api, "signpost", "kubernetes")
	if diff := cmp.Diff(configBefore.Data, config().Data); diff != "" {
		t.Errorf("the Corefile after the way back (-want +got):\n%s", diff)
	}
}

// oneWord changes the name of the plugin in a Corefile's stanza, the slow and
// obvious way; the README's command must give the same.
func oneWord(t *testing.T, corefile string) string {
	t.Helper()
	lines := strings.Split(corefile, "\n")
	changed := 0
	for i, line := range lines {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "kubernetes" {
			lines[i] = strings.Replace(line, "kubernetes", "signpost", 1)
			changed++
		}
	}
	if changed != 1 {
		t.Fatalf("%d stanzas of kubernetes in the Corefile, expected 1", changed)
	}
	return strings.Join(lines, "\n")
}

// migrate changes one word of the Corefile in the cluster into another by the
// README's command.
func migrate(t *testing.T, api *apiserver.Server, from, to string) {
	t.Helper()
	object := api.Kubectl(t, "-n", "kube-system", "get", "configmap", "coredns", "-o", "json")
	path := filepath.Join(t.TempDir(), "configmap.json")
	if err := os.WriteFile(path, []byte(sed(t, from, to, object)), 0o600); err != nil {
		t.Fatal(err)
	}
	api.Kubectl(t, "replace", "-f", path)
}

// sed runs the README's sed command for one direction over a ConfigMap in JSON.
func sed(t *testing.T, from, to, object string) string {
	t.Helper()
	command := regexp.MustCompile(`(?m)^ *kubectl -n kube-system get configmap coredns -o json \|
 *(sed -E '.*\)` + from + ` /\\1` + to + ` /g') \|
 *kubectl replace -f -$`)
	found := command.FindAllStringSubmatch(readFile(t, root+"/README.md"), -1)
	if len(found) != 1 {
		t.Fatalf("README.md has %d commands that change %s into %s in the ConfigMap, expected 1", len(found), from, to)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", found[0][1])
	cmd.Stdin = strings.NewReader(object)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", found[0][1], err)
	}
	return string(out)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// put gives objects to the API server.
func put(t *testing.T, api *apiserver.Server, verb string, objects ...runtime.Object) {
	t.Helper()
	for _, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "object.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		api.Kubectl(t, verb, "-f", path)
	}
}

// get reads an object of kube-system.
func get[T any](t *testing.T, api *apiserver.Server, name string) *T {
	t.Helper()
	o := new(T)
	if err := json.Unmarshal([]byte(api.Kubectl(t, "-n", "kube-system", "get", name, "-o", "json")), o); err != nil {
		t.Fatal(err)
	}
	return o
}
