package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

func TestPortsAndProbesFollowTheCorefile(t *testing.T) {
	objects := render(t, fresh)
	d := object[*appsv1.Deployment](t, objects, "Deployment kube-system/coredns")
	s := object[*corev1.Service](t, objects, "Service kube-system/kube-dns")
	m := object[*corev1.ConfigMap](t, objects, "ConfigMap kube-system/coredns")
	c := d.Spec.Template.Spec.Containers[0]
	listens := corefilePorts(t, m.Data["Corefile"])

	want := []corev1.ContainerPort{
		{Name: "dns", ContainerPort: listens["dns"], Protocol: "UDP"},
		{Name: "dns-tcp", ContainerPort: listens["dns"], Protocol: "TCP"},
		{Name: "metrics", ContainerPort: listens["prometheus"], Protocol: "TCP"},
		{Name: "liveness-probe", ContainerPort: listens["health"], Protocol: "TCP"},
		{Name: "readiness-probe", ContainerPort: listens["ready"], Protocol: "TCP"},
	}
	if diff := cmp.Diff(want, c.Ports); diff != "" {
		t.Errorf("container ports (-Corefile +manifest):\n%s", diff)
	}
	if got := c.LivenessProbe.HTTPGet; got.Path != "/health" || got.Port != intstr.FromString("liveness-probe") {
		t.Errorf("liveness probe asks %s on %s, want /health on liveness-probe", got.Path, got.Port.String())
	}
	if got := c.ReadinessProbe.HTTPGet; got.Path != "/ready" || got.Port != intstr.FromString("readiness-probe") {
		t.Errorf("readiness probe asks %s on %s, want /ready on readiness-probe", got.Path, got.Port.String())
	}
	if c.ReadinessProbe.InitialDelaySeconds == 0 { // each probe that fails is a Warning Event
		t.Error("the readiness probe asks before the process can answer")
	}
	wantService := []corev1.ServicePort{
		{Name: "dns", Port: 53, Protocol: "UDP", TargetPort: intstr.FromString("dns")},
		{Name: "dns-tcp", Port: 53, Protocol: "TCP", TargetPort: intstr.FromString("dns-tcp")},
		{Name: "metrics", Port: 9153, Protocol: "TCP", TargetPort: intstr.FromString("metrics")},
	}
	if diff := cmp.Diff(wantService, s.Spec.Ports); diff != "" {
		t.Errorf("service ports (-want +got):\n%s", diff)
	}
	scrape := map[string]string{"prometheus.io/port": "9153", "prometheus.io/scrape": "true"}
	if diff := cmp.Diff(scrape, s.Annotations); diff != "" {
		t.Errorf("annotations that Prometheus reads (-want +got):\n%s", diff)
	}
	if s.Spec.ClusterIP != "10.96.0.10" {
		t.Errorf("clusterIP %s, want 10.96.0.10, the address in every kubelet's configuration", s.Spec.ClusterIP)
	}
}

// corefilePorts returns the ports on which a Corefile's single server block and
// its plugins listen.
func corefilePorts(t *testing.T, corefile string) map[string]int32 {
	t.Helper()
	data, err := caddyfile.ToJSON([]byte(corefile))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []struct {
		Keys []string `json:"keys"`
		Body [][]any  `json:"body"`
	}
	if err := json.Unmarshal(data, &blocks); err != nil || len(blocks) != 1 {
		t.Fatalf("%d server blocks, %v", len(blocks), err)
	}
	number := func(s string) int32 {
		_, port, _ := strings.Cut(s, ":")
		return intstr.Parse(port).IntVal
	}
	// The defaults are CoreDNS's own, for plugins named without an address.
	ports := map[string]int32{"dns": number(blocks[0].Keys[0])}
	defaults := map[string]int32{"health": 8080, "ready": 8181, "prometheus": 9153}
	for _, line := range blocks[0].Body {
		name := line[0].(string)
		port, listens := defaults[name]
		if !listens {
			continue
		}
		if len(line) > 1 {
			if address, ok := line[1].(string); ok {
				port = number(address)
			}
		}
		ports[name] = port
	}
	return ports
}

func TestDeploymentIsLockedDown(t *testing.T) {
	d := object[*appsv1.Deployment](t, render(t, fresh), "Deployment kube-system/coredns")
	pod, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	user := int64(65532)
	yes, no := true, false
	wantPod := &corev1.PodSecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(wantPod, pod.SecurityContext); diff != "" {
		t.Errorf("security context of the pod (-want +got):\n%s", diff)
	}
	wantContainer := &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"},
		},
	}
	if diff := cmp.Diff(wantContainer, c.SecurityContext); diff != "" {
		t.Errorf("security context of the container (-want +got):\n%s", diff)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the pod shares a namespace of the node")
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Errorf("%d containers and %d init containers, want 1 and 0", len(pod.Containers), len(pod.InitContainers))
	}
	for _, v := range pod.Volumes {
		if v.ConfigMap == nil {
			t.Errorf("volume %s is no ConfigMap", v.Name)
		}
	}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("volume %s is mounted writable", m.Name)
		}
	}
}

// The garbage collector of both programs knows the memory limit of its container.
func TestMemoryLimitReachesTheRuntime(t *testing.T) {
	objects := render(t, fresh)
	d := object[*appsv1.Deployment](t, objects, "Deployment kube-system/coredns")
	_, _, forwarder := forwarderPod(t)
	for _, c := range []corev1.Container{d.Spec.Template.Spec.Containers[0], forwarder} {
		if c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s has no memory limit", c.Name)
		}
		i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
		if i < 0 || c.Env[i].ValueFrom == nil {
			t.Errorf("%s: no GOMEMLIMIT from its limit in %v", c.Name, c.Env)
			continue
		}
		// Without a divisor the value is a number of bytes, which is a form that the runtime takes.
		want := &corev1.ResourceFieldSelector{ContainerName: c.Name, Resource: "limits.memory"}
		if diff := cmp.Diff(want, c.Env[i].ValueFrom.ResourceFieldRef); diff != "" {
			t.Errorf("%s: GOMEMLIMIT (-want +got):\n%s", c.Name, diff)
		}
	}
}

// The policy is for the pods of the Deployment and lets in whoever asks for a name, by the ports that it has.
func TestNetworkPolicyFitsTheDeployment(t *testing.T) {
	for _, base := range []string{"FRESH", "KUBEADM"} {
		objects := render(t, overlay(t, "resources: ["+base+"]\ncomponents: [POLICY]\n"))
		p := object[*networkingv1.NetworkPolicy](t, objects, "NetworkPolicy kube-system/coredns")
		d := object[*appsv1.Deployment](t, render(t, fresh), "Deployment kube-system/coredns")
		if diff := cmp.Diff(d.Spec.Template.Labels, p.Spec.PodSelector.MatchLabels); diff != "" {
			t.Errorf("%s: the pods of the policy (-Deployment +policy):\n%s", base, diff)
		}
		if diff := cmp.Diff([]networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, p.Spec.PolicyTypes); diff != "" {
			t.Errorf("%s: what it restricts (-want +got):\n%s", base, diff)
		}
		var all, some []string
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				there := func(c corev1.ContainerPort) bool { return c.Name == port.Port.StrVal && c.Protocol == *port.Protocol }
				if !slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, there) {
					t.Errorf("%s: the container has no port %s/%s", base, port.Port, *port.Protocol)
				}
				if len(rule.From) == 0 {
					all = append(all, port.Port.StrVal)
				} else {
					some = append(some, port.Port.StrVal)
				}
			}
		}
		if diff := cmp.Diff([][]string{{"dns", "dns-tcp"}, {"metrics"}}, [][]string{all, some}); diff != "" {
			t.Errorf("%s: ports for all, and for some (-want +got):\n%s", base, diff)
		}
	}
}

func TestDeploymentStaysUp(t *testing.T) {
	objects := render(t, fresh)
	d := object[*appsv1.Deployment](t, objects, "Deployment kube-system/coredns")
	b := object[*policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget kube-system/coredns")
	pod, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	if *d.Spec.Replicas != 2 {
		t.Errorf("%d replicas, want 2", *d.Spec.Replicas)
	}
	if got := d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(); got != 0 {
		t.Errorf("a rollout may take %d pods away before new ones answer, want 0", got)
	}
	if got := b.Spec.MaxUnavailable.IntValue(); got != 1 || b.Spec.MinAvailable != nil {
		t.Errorf("the budget allows %d pods to be missing, want 1, and no minimum: a minimum can block a drain for ever", got)
	}
	if pod.PriorityClassName != "system-cluster-critical" {
		t.Errorf("priority class %q, want system-cluster-critical", pod.PriorityClassName)
	}
	if pod.DNSPolicy != corev1.DNSDefault {
		t.Errorf("dnsPolicy %q, want Default: the cluster's DNS must not ask itself", pod.DNSPolicy)
	}
	for _, key := range []string{"CriticalAddonsOnly", "node-role.kubernetes.io/control-plane"} {
		tolerates := func(t corev1.Toleration) bool { return t.Key == key && t.Operator == corev1.TolerationOpExists }
		if !slices.ContainsFunc(pod.Tolerations, tolerates) {
			t.Errorf("taint %s is not tolerated", key)
		}
	}
	for _, s := range pod.TopologySpreadConstraints {
		if s.WhenUnsatisfiable != corev1.ScheduleAnyway {
			t.Errorf("spread over %s is a condition: a cluster of one node would have one pod", s.TopologyKey)
		}
	}
	if c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("resources %v: want requests for both and a limit for memory", c.Resources)
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		t.Error("a CPU limit throttles DNS")
	}
}

// TestConfigMapReachesTheArgs follows the Corefile from the ConfigMap's key
// through the volume to the file that the arguments name.
func TestConfigMapReachesTheArgs(t *testing.T) {
	objects := render(t, fresh)
	d := object[*appsv1.Deployment](t, objects, "Deployment kube-system/coredns")
	m := object[*corev1.ConfigMap](t, objects, "ConfigMap kube-system/coredns")
	pod, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	if diff := cmp.Diff([]string{"-conf", "/etc/coredns/Corefile"}, c.Args); diff != "" {
		t.Fatalf("args (-want +got):\n%s", diff)
	}
	volume := pod.Volumes[0]
	if volume.ConfigMap.Name != m.Name {
		t.Errorf("the volume holds ConfigMap %s, want %s", volume.ConfigMap.Name, m.Name)
	}
	item := volume.ConfigMap.Items[0]
	if _, ok := m.Data[item.Key]; !ok {
		t.Errorf("the ConfigMap has no key %s", item.Key)
	}
	mount := c.VolumeMounts[0]
	if file := mount.MountPath + "/" + item.Path; mount.Name != volume.Name || file != c.Args[1] {
		t.Errorf("volume %s is mounted as %s, the arguments name %s", mount.Name, file, c.Args[1])
	}
	if pod.ServiceAccountName != "coredns" {
		t.Errorf("service account %s, want coredns", pod.ServiceAccountName)
	}
}

// TestImageIsSetInOnePlace: a user's overlay or the images: block of ours
// decides name and tag; no file names a registry.
func TestImageIsSetInOnePlace(t *testing.T) {
	for _, base := range []struct{ word, dir string }{{"FRESH", fresh}, {"KUBEADM", kubeadm}} {
		if diff := cmp.Diff([]string{"signpost/coredns:dev", "signpost/forwarder:dev"}, images(render(t, base.dir))); diff != "" {
			t.Errorf("%s: images (-want +got):\n%s", base.dir, diff)
		}
		mine := overlay(t, "resources: ["+base.word+"]\nimages:\n"+
			"  - {name: signpost/coredns, newName: example.org/dns, newTag: v1}\n"+
			"  - {name: signpost/forwarder, newName: example.org/vip, newTag: v2}\n")
		if diff := cmp.Diff([]string{"example.org/dns:v1", "example.org/vip:v2"}, images(render(t, mine))); diff != "" {
			t.Errorf("%s under a user's overlay: images (-want +got):\n%s", base.dir, diff)
		}
	}
}

// images returns those of all containers, each once.
func images(objects map[string]runtime.Object) []string {
	var all []string
	for _, o := range objects {
		var pod corev1.PodSpec
		switch o := o.(type) {
		case *appsv1.Deployment:
			pod = o.Spec.Template.Spec
		case *appsv1.DaemonSet:
			pod = o.Spec.Template.Spec
		}
		for _, c := range append(pod.InitContainers, pod.Containers...) {
			all = append(all, c.Image)
		}
	}
	return slices.Compact(sorted(all))
}

// TestKubeadmOverlayChangesTheImageOnly merges the overlay into a Deployment as
// kubectl does (a strategic merge), one that its owner has changed by hand.
func TestKubeadmOverlayChangesTheImageOnly(t *testing.T) {
	theirs := kubeadmDeployment()
	patch := object[*appsv1.Deployment](t, render(t, kubeadm), "Deployment kube-system/coredns")
	before, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(before, partial(t, patch), appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	var got appsv1.Deployment
	if err := json.Unmarshal(merged, &got); err != nil {
		t.Fatal(err)
	}
	want := theirs.DeepCopy()
	want.Spec.Template.Spec.Containers[0].Image = "signpost/coredns:dev"
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("the overlay changes more than the image (-want +got):\n%s", diff)
	}
}

// partial drops the empty required fields that Go's encoding adds to an object
// of which only a few fields are set; the YAML file has none.
func partial(t *testing.T, o runtime.Object) []byte {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	drop(m)
	if data, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return data
}

// drop removes null and empty values, from the leaves up.
func drop(m map[string]any) {
	for key, value := range m {
		switch v := value.(type) {
		case map[string]any:
			drop(v)
			if len(v) == 0 {
				delete(m, key)
			}
		case []any:
			for _, item := range v {
				if item, ok := item.(map[string]any); ok {
					drop(item)
				}
			}
		case nil:
			delete(m, key)
		}
	}
}

// kubeadmDeployment is CoreDNS as kubeadm deploys it, after its owner has scaled
// it and given it a second volume and a toleration.
func kubeadmDeployment() *appsv1.Deployment {
	replicas := int32(5)
	labels := map[string]string{"k8s-app": "kube-dns"}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					ServiceAccountName: "coredns",
					DNSPolicy:          corev1.DNSDefault,
					Tolerations:        []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
					Containers: []corev1.Container{{
						Name: "coredns", Image: "example.org/coredns/coredns:v1.14.2",
						Args: []string{"-conf", "/etc/coredns/Corefile"},
						VolumeMounts: []corev1.VolumeMount{
							{Name: "config-volume", MountPath: "/etc/coredns", ReadOnly: true},
							{Name: "zones", MountPath: "/zones", ReadOnly: true},
						},
					}},
					Volumes: []corev1.Volume{{Name: "config-volume"}, {Name: "zones"}},
				},
			},
		},
	}
}

// TestImageFileFitsTheDeployment reads the few facts that the Deployment relies on.
func TestImageFileFitsTheDeployment(t *testing.T) {
	data, err := os.ReadFile(manifests + "/images/coredns.Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^FROM scratch AS image$`,
		`(?m)^USER 65532:65532$`,
		`(?m)^ENTRYPOINT \["/coredns"\]$`,
		`(?m)^FROM source AS build\nRUN CGO_ENABLED=0 \S+ \S+ go build -trimpath .*-o /coredns \./cmd/coredns\nRUN setcap cap_net_bind_service=\+ep /coredns$`,
		`(?m)^FROM source AS build-full\nRUN CGO_ENABLED=0 .*-tags release .*-o /coredns \./cmd/coredns\nRUN setcap cap_net_bind_service=\+ep /coredns$`,
		`(?m)^FROM image AS full\nCOPY --from=build-full /coredns /coredns$`,
		// What is built without --target is the last stage: without the plugins of cloud vendors.
		`(?m)^FROM image AS slim\nCOPY --from=build /coredns /coredns\n\z`,
	} {
		if !regexp.MustCompile(want).Match(data) {
			t.Errorf("no line matches %s", want)
		}
	}
	mod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.ParseLax("go.mod", mod, nil)
	if err != nil {
		t.Fatal(err)
	}
	release := strings.Join(strings.SplitN(f.Go.Version, ".", 3)[:2], ".")
	if !bytes.Contains(data, []byte("\nARG GO_IMAGE=golang:"+release+"-")) {
		t.Errorf("the image is not built with Go %s, which go.mod asks for", release)
	}
}

func newReader(data []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(data)) }

func sorted(s []string) []string { slices.Sort(s); return s }
