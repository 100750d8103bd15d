package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// kubernetesVersion is what go.mod requires of k8s.io/kubernetes; a test keeps the two equal.
const kubernetesVersion = "v1.36.3"

// goSum pins every module that goes into the programs, and so stands for the sources in the cache key.
//
//go:embed go.sum
var goSum []byte

// program is one binary of the cache.
type program struct {
	name string // file name in the cache directory
	pkg  string // main package, as `go build` takes it
	// A program is put into the cache only after it ran with versionArgs and printed version: a binary
	// that does not start is found here and not in somebody's test. If version is empty it says none.
	versionArgs []string
	version     string
	test        bool // pkg is no main package: the program is its tests, as `go test -c` links them
}

// group is a set of programs that are wanted together.
type group struct {
	name     string
	short    string
	programs []program
}

// groups returns what can be built, each after what it needs. The first one is all that tests of the API
// server's clients wait for; whoever wants a later one gets those before it as well.
func groups() []group {
	version, kubernetes := []string{"--version"}, "Kubernetes "+kubernetesVersion
	return []group{
		{"api", "an API server: etcd, kube-apiserver, kubectl", []program{
			{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", versionArgs: version, version: "etcd Version: 3.6.8"},
			{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", versionArgs: version, version: kubernetes},
			{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", versionArgs: []string{"version", "--client"}, version: "Client Version: " + kubernetesVersion},
		}},
		{"cluster", "and the rest of a cluster: controllers, scheduler, kubelet, and kube-proxy as the peer", []program{
			{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", versionArgs: version, version: kubernetes},
			{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", versionArgs: version, version: kubernetes},
			{name: "kube-proxy", pkg: "k8s.io/kubernetes/cmd/kube-proxy", versionArgs: version, version: kubernetes},
			{name: "kubelet", pkg: "k8s.io/kubernetes/cmd/kubelet", versionArgs: version, version: kubernetes},
		}},
		{"e2e", "and Kubernetes's own end-to-end tests: what runs in their pods, ginkgo, e2e.test", []program{
			// Kubernetes's release scripts give agnhost its number; without them it calls itself so.
			{name: "agnhost", pkg: "k8s.io/kubernetes/test/images/agnhost", versionArgs: version, version: "version development"},
			{name: "regression-issue-74839", pkg: "k8s.io/kubernetes/test/images/regression-issue-74839"},
			{name: "ginkgo", pkg: "github.com/onsi/ginkgo/v2/ginkgo", versionArgs: []string{"version"}, version: "Ginkgo Version 2.28.1"},
			{name: "e2e.test", pkg: "k8s.io/kubernetes/test/e2e", versionArgs: version, version: kubernetesVersion, test: true},
		}},
	}
}

// programs returns the programs of all groups up to the named one, in the order in which they are built:
// etcd, the smallest, first, so that progress shows soon.
func programs(upTo string) ([]program, error) {
	var all []program
	var names []string
	for _, g := range groups() {
		all = append(all, g.programs...)
		if names = append(names, g.name); g.name == upTo {
			return all, nil
		}
	}
	return nil, fmt.Errorf("no group of programs %q, expected one of %s", upTo, strings.Join(names, ", "))
}

// buildFlags returns the one set of flags for every program. Other flags would miss Go's build cache and
// compile everything again. Without the -X flags the programs call themselves v0.0.0.
func buildFlags() []string {
	number := strings.Split(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	values := []string{
		"gitVersion=" + kubernetesVersion,
		"gitMajor=" + number[0],
		"gitMinor=" + number[1],
		"gitTreeState=clean",
	}
	link := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range values {
			link = append(link, "-X", pkg+"."+v)
		}
	}
	return []string{"-trimpath", "-buildvcs=false", "-ldflags", strings.Join(link, " ")}
}

// buildEnv returns what is added to the environment of `go build`. The user's own GOFLAGS and GOWORK are
// put out of force: they could pick other sources than go.sum says.
func buildEnv() []string {
	return []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="}
}

// directory returns where the programs of this recipe belong below the cache directory. The name holds a
// hash of the sources, the flags and the platform, so that a changed recipe never meets old binaries. The
// list of programs is not part of it: adding one compiles only that one.
func directory(cache string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %s/%s\n", buildFlags(), buildEnv(), runtime.GOOS, runtime.GOARCH)
	h.Write(goSum)
	return filepath.Join(cache, "signpost", "k8s-"+kubernetesVersion+"-"+hex.EncodeToString(h.Sum(nil))[:12])
}
