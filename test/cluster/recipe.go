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
	// that does not start is found here and not in somebody's test.
	versionArgs []string
	version     string
}

// programs returns what build compiles, smallest first, so that progress shows soon.
func programs() []program {
	return []program{
		{"etcd", "go.etcd.io/etcd/server/v3", []string{"--version"}, "etcd Version: 3.6.8"},
		{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", []string{"--version"}, "Kubernetes " + kubernetesVersion},
		{"kubectl", "k8s.io/kubernetes/cmd/kubectl", []string{"version", "--client"}, "Client Version: " + kubernetesVersion},
	}
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
