//go:build linux

package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A shipped Corefile is the default of some distribution, as its users have it.
type shipped struct {
	name  string
	file  string // in testdata/corefiles, without its extension
	from  string // where the distribution keeps it
	ttl   uint32 // of a Service's records
	files map[string]string
	ask   []ask // beside what every cluster answers
}

var corefiles = []shipped{
	{name: "kubeadm", file: "kubeadm", from: "kubernetes/kubernetes cmd/kubeadm/app/phases/addons/dns/manifests.go", ttl: 30},
	{name: "kubeadm before", file: "kubeadm-older", from: "the same, before it left cluster.local out of the cache", ttl: 30},
	{name: "kops", file: "kops", from: "kubernetes/kops upup/models/cloudup/resources/addons/coredns.addons.k8s.io", ttl: 30},
	{name: "EKS", file: "eks", from: "the ConfigMap of the EKS add-on", ttl: 5},
	{
		name: "AKS", file: "aks", from: "the ConfigMap of AKS", ttl: 30, files: custom,
		ask: append([]ask{{"a.b.c.d.internal.cloudapp.net.", "A", "NXDOMAIN"}, {"x.reddog.microsoft.com.", "A", "NXDOMAIN"}}, customised...),
	},
	{name: "AKS without custom files", file: "aks", from: "the same, before its owner made custom files", ttl: 30},
	{
		name: "k3s", file: "k3s", from: "k3s-io/k3s manifests/coredns.yaml", ttl: 5,
		files: with(custom, "NodeHosts", "172.30.0.11 node-1\n"),
		ask:   append([]ask{{"node-1.", "A", "172.30.0.11"}}, customised...),
	},
}

// What owners of AKS and k3s clusters put into the ConfigMap coredns-custom: more
// plugins for the server block, and server blocks of their own.
var (
	custom = map[string]string{
		"custom/mine.override": "template IN A mine.example {\n  answer \"{{ .Name }} 60 IN A 192.0.2.1\"\n}\n",
		"custom/mine.server":   "block.example:53 {\n  template IN A {\n    answer \"{{ .Name }} 60 IN A 192.0.2.2\"\n  }\n}\n",
	}
	customised = []ask{{"x.mine.example.", "A", "192.0.2.1"}, {"x.block.example.", "A", "192.0.2.2"}}
)

// TestCorefiles starts the real coredns with the Corefiles that users have and
// those that they find here. Nothing of a file is touched: it stands where the
// manifests mount it, and its ports are free, because coredns runs in a network
// and a mount namespace of its own.
func TestCorefiles(t *testing.T) {
	binary := buildCoreDNS(t)
	t.Run("distributions", func(t *testing.T) { testShipped(t, binary) })
	t.Run("READMEs", func(t *testing.T) { testReadmeBlocks(t, binary) })
	t.Run("the stage can fail", func(t *testing.T) { testStageCanFail(t, binary) })
}

// testShipped takes the default of every distribution, once as it ships and once
// with the word changed, beside an API server that grants what the manifests
// grant and no more.
func testShipped(t *testing.T, binary string) {
	for _, c := range corefiles {
		theirs := readFile(t, "testdata/corefiles/"+c.file+".Corefile")
		for word, text := range map[string]string{"kubernetes": theirs, "signpost": oneWord(t, theirs)} {
			t.Run(c.name+"/"+word, func(t *testing.T) {
				t.Parallel()
				newStage(t, binary, with(c.files, "Corefile", text), c.ttl, c.ask).run(t)
			})
		}
	}
	example := readFile(t, root+"/Corefile.example")
	t.Run("Corefile.example", func(t *testing.T) {
		t.Parallel()
		newStage(t, binary, map[string]string{"Corefile": example}, 30, nil).run(t)
	})
	t.Run("pods verified with the component", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, binary, map[string]string{"Corefile": strings.Replace(example, "insecure", "verified", 1)}, 30, nil)
		s.Rights = granted(t, render(t, overlay(t, "resources: [FRESH]\ncomponents: [PODS]\n")), "coredns")
		s.Ask[3].Want = "NXDOMAIN" // no pod has this address
		s.run(t)
	})
	t.Run("multicluster with the component", func(t *testing.T) {
		t.Parallel()
		text := strings.NewReplacer("signpost cluster.local ", "signpost cluster.local clusterset.local ", "pods insecure", "pods insecure\nmulticluster clusterset.local").Replace(example)
		s := newStage(t, binary, map[string]string{"Corefile": text}, 30, []ask{{"kubernetes.default.svc.clusterset.local.", "A", "NXDOMAIN"}})
		s.Rights = granted(t, render(t, overlay(t, "resources: [KUBEADM]\ncomponents: [CLUSTERSET]\n")), "coredns")
		s.run(t)
	})
}

// newStage is the container of the manifests with some files in /etc/coredns.
func newStage(t *testing.T, binary string, files map[string]string, ttl uint32, more []ask) stage {
	t.Helper()
	objects := render(t, fresh)
	d := object[*appsv1.Deployment](t, objects, "Deployment kube-system/coredns")
	return stage{
		Binary:   binary,
		Args:     d.Spec.Template.Spec.Containers[0].Args,
		Dir:      "/",
		Files:    files,
		Rights:   granted(t, objects, "coredns"),
		TTL:      ttl,
		Patience: time.Minute,
		Ask: append([]ask{
			{"kubernetes.default.svc.cluster.local.", "A", "10.96.0.1"},
			{"1.0.96.10.in-addr.arpa.", "PTR", "kubernetes.default.svc.cluster.local."},
			{"nope.default.svc.cluster.local.", "A", "NXDOMAIN"},
			{"10-1-2-3.default.pod.cluster.local.", "A", "10.1.2.3"},
		}, more...),
	}
}

// TestCorefileExampleIsKubeadms compares the example with kubeadm's Corefile: one word
// is another, and bufsize is there as well.
func TestCorefileExampleIsKubeadms(t *testing.T) {
	var lines []string
	for line := range strings.Lines(readFile(t, root+"/Corefile.example")) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	want := strings.Replace(oneWord(t, readFile(t, "testdata/corefiles/kubeadm.Corefile")), "    errors\n", "    errors\n    bufsize 1232\n", 1)
	if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
		t.Errorf("Corefile.example is not kubeadm's with one word changed and bufsize (-want +got):\n%s", diff)
	}
}

// TestMigrationCommand runs the README's sed command over every default Corefile
// in a ConfigMap as kubectl prints it: one word changes, there and back.
func TestMigrationCommand(t *testing.T) {
	texts := map[string]string{
		"tabs and trailing blanks": ".:53 {\n\tkubernetes cluster.local {\n\t}   \n}\n",
		"autopath":                 ".:53 {\n    autopath @kubernetes\n\tautopath a\tb @kubernetes\n    kubernetes a {\n      pods verified\n    }\n}\n",
		"two stanzas":              "a:53 {\n  kubernetes a\n}\nb:53 {\n  kubernetes b \n}\n",
		"the word elsewhere":       ".:53 {\n  # ask kubernetes first\n  forward kubernetes.example 10.0.0.1\n  hosts /etc/kubernetes {\n  }\n  kubernetes a\n}\n",
	}
	for _, c := range corefiles {
		texts[c.file] = readFile(t, "testdata/corefiles/"+c.file+".Corefile")
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			there := sed(t, "kubernetes", "signpost", configMapJSON(t, text))
			want := regexp.MustCompile(`(?m)^(\s+)kubernetes `).ReplaceAllString(text, "${1}signpost ")
			want = strings.ReplaceAll(want, "@kubernetes", "@signpost")
			if diff := cmp.Diff(configMapJSON(t, want), there); diff != "" {
				t.Errorf("there (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(configMapJSON(t, text), sed(t, "signpost", "kubernetes", there)); diff != "" {
				t.Errorf("and back (-want +got):\n%s", diff)
			}
		})
	}
}

func configMapJSON(t *testing.T, corefile string) string {
	t.Helper()
	data, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "coredns", "labels": map[string]string{"kubernetes.io/name": "CoreDNS"}},
		"data":     map[string]string{"Corefile": corefile},
	}, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

// testReadmeBlocks takes every block marked corefile in every Markdown file, from
// the top of the repository, while an API server answers where kubectl proxy would.
func testReadmeBlocks(t *testing.T, binary string) {
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range repositoryFiles(t) {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, block := range corefileBlocks(readFile(t, filepath.Join(root, path))) {
			n++
			t.Run(path, func(t *testing.T) {
				t.Parallel()
				stage{
					Binary: binary, Args: []string{"-conf", "/etc/coredns/Corefile"}, Dir: dir,
					Files: map[string]string{"Corefile": block}, JustStart: true, Patience: time.Minute,
				}.run(t)
			})
		}
	}
	if n == 0 {
		t.Error("no Markdown file has a corefile block: the READMEs should show one")
	}
}

var fence = regexp.MustCompile("(?ms)^(?:~~~|```) *corefile *\n(.*?)^(?:~~~|```) *$")

// corefileBlocks returns the blocks of a Markdown text that are marked corefile.
func corefileBlocks(text string) []string {
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func TestCorefileBlocksAreFound(t *testing.T) {
	text := "a\n~~~ corefile\none {\n}\n~~~\n``` txt\nno\n```\n```corefile\ntwo {\n}\n```\nb\n"
	if diff := cmp.Diff([]string{"one {\n}\n", "two {\n}\n"}, corefileBlocks(text)); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
}

// testStageCanFail: a wrong Corefile, a wrong answer and a right that nobody
// granted must each be seen, or the tests above mean nothing.
func testStageCanFail(t *testing.T, binary string) {
	good := oneWord(t, readFile(t, "testdata/corefiles/kubeadm.Corefile"))
	for _, c := range []struct {
		name, corefile string
		change         func(*stage)
		want           string
	}{
		{"an unknown option", strings.Replace(good, "pods insecure", "podz insecure", 1), nil, "podz"},
		{"an unknown plugin", strings.Replace(good, "signpost", "sighpost", 1), nil, "Unknown directive 'sighpost'"},
		{"another answer", good, func(s *stage) { s.Ask[0].Want = "10.96.0.2" }, "expected 10.96.0.2"},
		{"another TTL", good, func(s *stage) { s.TTL = 60 }, "TTL 30, expected 60"},
		{"a right missing", good, func(s *stage) { s.Rights = rights("services", "namespaces") }, "list discovery.k8s.io/endpointslices: not granted"},
		{"a right too many", good, func(s *stage) {
			s.Rights, s.Patience = append(s.Rights, "list pods"), 2*time.Second
		}, "list pods: granted, never asked for"},
		{"pods verified without the component", strings.Replace(good, "insecure", "verified", 1), nil, "list pods: not granted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, binary, map[string]string{"Corefile": c.corefile}, 30, nil)
			if c.change != nil {
				c.change(&s)
			}
			if out, err := s.play(t); err == nil || !strings.Contains(out, c.want) {
				t.Errorf("the stage ends with %v and says\n%s\nexpected %q", err, out, c.want)
			}
		})
	}
}

// run plays the stage and passes if it does.
func (s stage) run(t *testing.T) {
	t.Helper()
	if out, err := s.play(t); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// play runs TestStage of this test binary in a sandbox and returns what was said
// there.
func (s stage) play(t *testing.T) (string, error) {
	t.Helper()
	script, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	box := netlab.Sandbox{
		Args: []string{"-test.run=^TestStage$"}, Env: append(os.Environ(), stageEnv+"="+string(script)),
		Stdout: &out, Stderr: &out,
	}
	code, err := box.Run(t.Context())
	if refused, ok := errors.AsType[*netlab.Refused](err); ok && os.Getenv("CI") != "true" {
		t.Skip(refused)
	}
	if err == nil && code != 0 {
		err = errors.New("the stage failed")
	}
	return out.String(), err
}

// TestMain is also the way into the sandbox.
func TestMain(m *testing.M) {
	netlab.Init()
	os.Exit(m.Run())
}

// with is a map with one more entry.
func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
