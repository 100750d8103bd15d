package test

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// forwarderPod returns the pod of the fresh overlay: what prepares the node, and
// what runs.
func forwarderPod(t *testing.T) (pod corev1.PodSpec, init, main corev1.Container) {
	t.Helper()
	d := object[*appsv1.DaemonSet](t, render(t, fresh), "DaemonSet kube-system/signpost-forwarder")
	pod = d.Spec.Template.Spec
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 {
		t.Fatalf("%d init containers and %d containers, want 1 and 1", len(pod.InitContainers), len(pod.Containers))
	}
	return pod, pod.InitContainers[0], pod.Containers[0]
}

// loadInPod reads a container's arguments as the forwarder does, with the files
// of a ConfigMap where the pod mounts it, on the node worker-1.
func loadInPod(t *testing.T, pod corev1.PodSpec, c corev1.Container, args []string, m *corev1.ConfigMap) *config.Config {
	t.Helper()
	node := func(e corev1.EnvVar) bool {
		return e.Name == "NODE_NAME" && e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "spec.nodeName"
	}
	if !slices.ContainsFunc(c.Env, node) {
		t.Errorf("container %s does not get NODE_NAME, the name of its node", c.Name)
	}
	mounted := ""
	for _, v := range pod.Volumes {
		for _, mount := range c.VolumeMounts {
			if v.ConfigMap != nil && v.ConfigMap.Name == m.Name && mount.Name == v.Name && mount.SubPath == "" {
				mounted = mount.MountPath
			}
		}
	}
	if mounted == "" {
		t.Fatalf("container %s has no folder with the ConfigMap %s", c.Name, m.Name)
	}
	dir := t.TempDir()
	for name, text := range m.Data {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.NewReplacer("$(NODE_NAME)", "worker-1", mounted+"/", dir+"/").Replace(args[i])
	}
	if words := config.Arguments(args); len(words) > 0 {
		t.Errorf("arguments %q, want flags only", words)
	}
	got, err := config.Load(args)
	if err != nil {
		t.Fatalf("container %s, %q: %v", c.Name, args, err)
	}
	if len(got.Notes) > 0 {
		t.Errorf("container %s: settings without effect: %q", c.Name, got.Notes)
	}
	if got.HostnameOverride != "worker-1" || got.Flags.ConfigFile == "" {
		t.Errorf("container %s: node %q, file %q, want worker-1 and the file of the ConfigMap", c.Name, got.HostnameOverride, got.Flags.ConfigFile)
	}
	return got
}

func TestForwarderConfigMap(t *testing.T) {
	pod, init, main := forwarderPod(t)
	m := object[*corev1.ConfigMap](t, render(t, fresh), "ConfigMap kube-system/signpost-forwarder")
	prepares, runs := loadInPod(t, pod, init, init.Args, m), loadInPod(t, pod, main, main.Args, m)
	if !prepares.Flags.InitOnly || runs.Flags.InitOnly {
		t.Errorf("--init-only: %t in the init container and %t in the main one, want true and false", prepares.Flags.InitOnly, runs.Flags.InitOnly)
	}
	prepares.Flags, runs.Flags = config.Flags{}, config.Flags{}
	if diff := cmp.Diff(runs.Wire, prepares.Wire); diff != "" {
		t.Errorf("the two containers read different configurations (-main +init):\n%s", diff)
	}
	if runs.Wire.Mode != config.ModeNFTables {
		t.Errorf("mode %s, want nftables", runs.Wire.Mode)
	}
	if diff := cmp.Diff([]string{"10.244.0.0/16"}, prefixes(runs.LocalPods.CIDRs)); diff != "" {
		t.Errorf("clusterCIDR (-want +got):\n%s", diff)
	}
	// The comment tells users to change it, so it must be one line that can be changed.
	dual := m.DeepCopy()
	dual.Data["config.conf"] = strings.Replace(m.Data["config.conf"], "clusterCIDR: 10.244.0.0/16\n", "clusterCIDR: 10.8.0.0/14,fd00:8::/48\n", 1)
	if diff := cmp.Diff([]string{"10.8.0.0/14", "fd00:8::/48"}, prefixes(loadInPod(t, pod, main, main.Args, dual).LocalPods.CIDRs)); diff != "" {
		t.Errorf("clusterCIDR of both families (-want +got):\n%s", diff)
	}
}

func prefixes(list []netip.Prefix) []string {
	var all []string
	for _, p := range list {
		all = append(all, p.String())
	}
	return all
}

func TestForwarderPortsAndProbes(t *testing.T) {
	pod, _, main := forwarderPod(t)
	m := object[*corev1.ConfigMap](t, render(t, fresh), "ConfigMap kube-system/signpost-forwarder")
	wire := loadInPod(t, pod, main, main.Args, m).Wire
	health, err := netip.ParseAddrPort(wire.HealthzBindAddress)
	if err != nil {
		t.Fatal(err)
	}
	if !health.Addr().IsUnspecified() {
		t.Errorf("health is served on %s, and kubelet asks the address of the node", health)
	}
	// Metrics are on the loopback address: not for others, hence no port of the container.
	if diff := cmp.Diff([]corev1.ContainerPort{{Name: "healthz", ContainerPort: int32(health.Port()), Protocol: "TCP"}}, main.Ports); diff != "" {
		t.Errorf("container ports (-configuration +manifest):\n%s", diff)
	}

	// A node that leaves the cluster gets no more traffic from load balancers (/healthz). It is not restarted
	// for that, and a rollout does not wait for it.
	state := healthcheck.NewHealth(time.Hour, healthcheck.IPv4)
	state.Updated()
	leaving := healthcheck.Probes{Health: state, Answered: func(string, int) {}, Eligible: func() bool { return false }}.Handler()
	for _, c := range []struct {
		name  string
		probe *corev1.Probe
		want  int
	}{{"liveness", main.LivenessProbe, 200}, {"readiness", main.ReadinessProbe, 200}} {
		get := c.probe.HTTPGet
		if get.Port != intstr.FromString("healthz") || get.Host != "" {
			t.Errorf("%s probe asks host %q, port %s, want the node at healthz", c.name, get.Host, get.Port.String())
		}
		w := httptest.NewRecorder()
		leaving.ServeHTTP(w, httptest.NewRequest("GET", get.Path, nil))
		if w.Code != c.want {
			t.Errorf("%s probe %s of a node that leaves: %d, want %d", c.name, get.Path, w.Code, c.want)
		}
	}
	// A process that has written nothing yet is alive and not ready, and the kubelet does not ask at once:
	// each probe that fails is an Event.
	fresh := healthcheck.Probes{Health: healthcheck.NewHealth(time.Hour), Answered: func(string, int) {}, Eligible: func() bool { return true }}.Handler()
	for path, want := range map[string]int{main.LivenessProbe.HTTPGet.Path: 200, main.ReadinessProbe.HTTPGet.Path: 503} {
		w := httptest.NewRecorder()
		fresh.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("probe %s of a process that has just started: %d, want %d", path, w.Code, want)
		}
	}
	if main.ReadinessProbe.InitialDelaySeconds == 0 {
		t.Error("the readiness probe asks before the process can answer")
	}
}

func TestForwarderIsLockedDown(t *testing.T) {
	pod, init, main := forwarderPod(t)
	yes, no := true, false
	wantPod := &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	if diff := cmp.Diff(wantPod, pod.SecurityContext); diff != "" {
		t.Errorf("security context of the pod (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&corev1.SecurityContext{Privileged: &yes}, init.SecurityContext); diff != "" {
		t.Errorf("security context of the init container (-want +got):\n%s", diff)
	}
	wantMain := &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
	}
	if diff := cmp.Diff(wantMain, main.SecurityContext); diff != "" {
		t.Errorf("security context of the main container (-want +got):\n%s", diff)
	}
	if !pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Errorf("host network %t, PIDs %t, IPC %t: want the network, and it alone", pod.HostNetwork, pod.HostPID, pod.HostIPC)
	}
	for _, v := range pod.Volumes {
		if v.ConfigMap == nil && v.Projected == nil {
			t.Errorf("volume %s is no ConfigMap and no token", v.Name)
		}
	}
	for _, m := range append(init.VolumeMounts, main.VolumeMounts...) {
		if !m.ReadOnly {
			t.Errorf("volume %s is mounted writable", m.Name)
		}
	}
}

func TestForwarderRunsOnEveryNode(t *testing.T) {
	d := object[*appsv1.DaemonSet](t, render(t, fresh), "DaemonSet kube-system/signpost-forwarder")
	pod, main := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	own := map[string]string{"k8s-app": "signpost-forwarder"}
	for name, got := range map[string]map[string]string{"selector": d.Spec.Selector.MatchLabels, "labels of the pods": d.Spec.Template.Labels} {
		if diff := cmp.Diff(own, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations); diff != "" {
		t.Errorf("tolerations: every taint must be tolerated (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"kubernetes.io/os": "linux"}, pod.NodeSelector); diff != "" {
		t.Errorf("node selector (-want +got):\n%s", diff)
	}
	if pod.PriorityClassName != "system-node-critical" || pod.DNSPolicy != corev1.DNSDefault {
		t.Errorf("priority %q and dnsPolicy %q, want system-node-critical and Default", pod.PriorityClassName, pod.DNSPolicy)
	}
	// Two would not share a port of the node.
	if r := d.Spec.UpdateStrategy.RollingUpdate; d.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || r == nil || r.MaxSurge != nil {
		t.Errorf("update strategy %v, want a rolling one without surge", d.Spec.UpdateStrategy)
	}
	if main.Resources.Requests.Memory().IsZero() || main.Resources.Requests.Cpu().IsZero() || !main.Resources.Limits.Cpu().IsZero() {
		t.Errorf("resources %v: want requests for both and no limit for CPU", main.Resources)
	}
}

// TestForwarderReachesTheAPI: by an address of the ConfigMap that the user makes,
// and with the account that RBAC knows. The Service default/kubernetes is what the
// pod itself routes.
func TestForwarderReachesTheAPI(t *testing.T) {
	pod, init, main := forwarderPod(t)
	want := []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "kubernetes-services-endpoint"},
	}}}
	if diff := cmp.Diff(want, main.EnvFrom); diff != "" {
		t.Errorf("where the API is (-want +got):\n%s", diff)
	}
	if pod.ServiceAccountName != "signpost-forwarder" || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("account %q, automount %v: want signpost-forwarder, and false", pod.ServiceAccountName, pod.AutomountServiceAccountToken)
	}
	// The container that is privileged gets no token; client-go finds that of the other one in its place.
	at := func(c corev1.Container) (paths []string) {
		for _, m := range c.VolumeMounts {
			if m.Name == "token" {
				paths = append(paths, m.MountPath)
			}
		}
		return paths
	}
	if diff := cmp.Diff([]string{"/var/run/secrets/kubernetes.io/serviceaccount"}, at(main)); diff != "" {
		t.Errorf("where the token is (-want +got):\n%s", diff)
	}
	if got := at(init); len(got) > 0 {
		t.Errorf("the init container has a token at %s", got)
	}
	var files []string
	for _, v := range pod.Volumes {
		if v.Name != "token" {
			continue
		}
		for _, s := range v.Projected.Sources {
			switch {
			case s.ServiceAccountToken != nil:
				files = append(files, s.ServiceAccountToken.Path)
			case s.ConfigMap != nil:
				files = append(files, s.ConfigMap.Name+"/"+s.ConfigMap.Items[0].Path)
			case s.DownwardAPI != nil:
				files = append(files, s.DownwardAPI.Items[0].Path)
			}
		}
	}
	if diff := cmp.Diff([]string{"token", "kube-root-ca.crt/ca.crt", "namespace"}, files); diff != "" {
		t.Errorf("files beside the token (-want +got):\n%s", diff)
	}
	m := object[*corev1.ConfigMap](t, render(t, fresh), "ConfigMap kube-system/signpost-forwarder")
	if c := loadInPod(t, pod, main, main.Args, m); c.Wire.ClientConnection.Kubeconfig != "" || c.Flags.Master != "" {
		t.Errorf("kubeconfig %q and server %q go before what the ConfigMap says", c.Wire.ClientConnection.Kubeconfig, c.Flags.Master)
	}
}

// TestKubeadmOverlayChangesTheProxysImageOnly merges the overlay into the DaemonSet
// as kubectl does, and starts what it then says: the arguments and the file are
// kubeadm's, the program is ours.
func TestKubeadmOverlayChangesTheProxysImageOnly(t *testing.T) {
	theirs, m := kubeadmProxy()
	patch := object[*appsv1.DaemonSet](t, render(t, kubeadm), "DaemonSet kube-system/kube-proxy")
	before, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(before, partial(t, patch), appsv1.DaemonSet{})
	if err != nil {
		t.Fatal(err)
	}
	var got appsv1.DaemonSet
	if err := json.Unmarshal(merged, &got); err != nil {
		t.Fatal(err)
	}
	want := theirs.DeepCopy()
	want.Spec.Template.Spec.Containers[0].Image = "signpost/forwarder:dev"
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("the overlay changes more than the image (-want +got):\n%s", diff)
	}
	pod := got.Spec.Template.Spec
	c := loadInPod(t, pod, pod.Containers[0], pod.Containers[0].Command[1:], m)
	if kubeconfig := c.Wire.ClientConnection.Kubeconfig; kubeconfig != "/var/lib/kube-proxy/kubeconfig.conf" || c.Wire.Mode != config.ModeAuto {
		t.Errorf("kubeconfig %q, mode %s, want kubeadm's file and auto", kubeconfig, c.Wire.Mode)
	}
}

// TestUnprivilegedKubeadm merges the component into kubeadm's DaemonSet: what stays has the rights of the fresh
// overlay's container, and what prepares the node reads the same configuration.
func TestUnprivilegedKubeadm(t *testing.T) {
	theirs, m := kubeadmProxy()
	objects := render(t, overlay(t, "resources: [KUBEADM]\ncomponents: [UNPRIVILEGED]\nimages:\n  - {name: signpost/forwarder, newName: example.org/vip, newTag: v2}\n"))
	patch := object[*appsv1.DaemonSet](t, objects, "DaemonSet kube-system/kube-proxy")
	before, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(before, partial(t, patch), appsv1.DaemonSet{})
	if err != nil {
		t.Fatal(err)
	}
	var got appsv1.DaemonSet
	if err := json.Unmarshal(merged, &got); err != nil {
		t.Fatal(err)
	}
	pod := got.Spec.Template.Spec
	init, main := pod.InitContainers[0], pod.Containers[0]
	_, freshInit, freshMain := forwarderPod(t)
	no := false
	wantMain := freshMain.SecurityContext.DeepCopy()
	wantMain.Privileged = &no // kubeadm's says true
	if diff := cmp.Diff(wantMain, main.SecurityContext); diff != "" {
		t.Errorf("main container (-fresh overlay +component):\n%s", diff)
	}
	if diff := cmp.Diff(freshInit.SecurityContext, init.SecurityContext); diff != "" {
		t.Errorf("init container (-fresh overlay +component):\n%s", diff)
	}
	if pod.SecurityContext == nil || pod.SecurityContext.SeccompProfile == nil || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security context of the pod %v, want the runtime's seccomp profile", pod.SecurityContext)
	}
	for _, c := range []corev1.Container{init, main} {
		if c.Image != "example.org/vip:v2" {
			t.Errorf("container %s: image %s, want that of the images block", c.Name, c.Image)
		}
	}
	prepares, runs := loadInPod(t, pod, init, init.Command[1:], m), loadInPod(t, pod, main, main.Command[1:], m)
	if !prepares.Flags.InitOnly || runs.Flags.InitOnly {
		t.Errorf("--init-only: %t in the init container and %t in the main one, want true and false", prepares.Flags.InitOnly, runs.Flags.InitOnly)
	}
	if diff := cmp.Diff(runs.Wire, prepares.Wire); diff != "" {
		t.Errorf("the two containers read different configurations (-main +init):\n%s", diff)
	}
}

// kubeadmProxy is kube-proxy as kubeadm deploys it, after its owner has given it
// resources.
func kubeadmProxy() (*appsv1.DaemonSet, *corev1.ConfigMap) {
	labels := map[string]string{"k8s-app": "kube-proxy"}
	privileged := true
	node := corev1.EnvVar{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}}}
	d := &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system", Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					ServiceAccountName: "kube-proxy",
					HostNetwork:        true,
					PriorityClassName:  "system-node-critical",
					Tolerations:        []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Containers: []corev1.Container{{
						Name: "kube-proxy", Image: "example.org/kube-proxy:v1.37.0",
						Command:         []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=$(NODE_NAME)"},
						Env:             []corev1.EnvVar{node},
						SecurityContext: &corev1.SecurityContext{Privileged: &privileged},
						VolumeMounts: []corev1.VolumeMount{
							{Name: "kube-proxy", MountPath: "/var/lib/kube-proxy"},
							{Name: "lib-modules", MountPath: "/lib/modules", ReadOnly: true},
						},
					}},
					Volumes: []corev1.Volume{
						{Name: "kube-proxy", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
							LocalObjectReference: corev1.LocalObjectReference{Name: "kube-proxy"},
						}}},
						{Name: "lib-modules", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/lib/modules"}}},
					},
				},
			},
		},
	}
	return d, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system", Labels: labels},
		Data: map[string]string{
			"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: \"\"\n" +
				"clusterCIDR: 10.244.0.0/16\nclientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n",
			"kubeconfig.conf": "apiVersion: v1\nkind: Config\n",
		},
	}
}

// TestImageFileFitsTheDaemonSets reads the few facts that both DaemonSets rely on.
func TestImageFileFitsTheDaemonSets(t *testing.T) {
	text := readFile(t, manifests+"/images/forwarder.Dockerfile")
	theirs, _ := kubeadmProxy()
	called := regexp.QuoteMeta(theirs.Spec.Template.Spec.Containers[0].Command[0])
	for _, want := range []string{
		`(?m)^FROM scratch$`,
		`(?m)^ENTRYPOINT \["/forwarder"\]$`,
		`(?m)^RUN CGO_ENABLED=0 .*-o /forwarder \./cmd/forwarder$`,
		`(?m)^RUN mkdir -p /root-of-image/usr/local/bin && cp /forwarder /root-of-image/forwarder \\$`,
		`(?m)^\s*&& ln -s /forwarder /root-of-image` + called + `$`,
		`(?m)^COPY --from=build /root-of-image/ /$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no line matches %s", want)
		}
	}
	// Root has NET_ADMIN in effect as it starts. Another user would need it in the
	// file, as CoreDNS has its capability.
	if strings.Contains(text, "\nUSER ") {
		t.Error("the image names a user, who would start without NET_ADMIN")
	}
	coredns := readFile(t, manifests+"/images/coredns.Dockerfile")
	// Both are built by one Go, and every base image can be given by its digest.
	from := regexp.MustCompile(`(?m)^ARG GO_IMAGE=.*$`)
	if got, want := from.FindString(text), from.FindString(coredns); got != want || got == "" {
		t.Errorf("built by %q, and CoreDNS by %q", got, want)
	}
	for name, file := range map[string]string{"forwarder": text, "coredns": coredns} {
		stages := map[string]bool{"scratch": true}
		for _, m := range regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+)(?: AS (\S+))?$`).FindAllStringSubmatch(file, -1) {
			if base := m[1]; !stages[base] && !strings.Contains(file, "\nARG "+strings.TrimPrefix(base, "$")+"=") {
				t.Errorf("%s.Dockerfile: the base %s is no argument", name, base)
			}
			stages[m[2]] = true
		}
	}
}
