package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestPeerCorefile changes the Corefile that the manifests of this repository have.
func TestPeerCorefile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(shipped, "manifests", "coredns", "configmap.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := peerCorefile(string(text))
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Split(string(text), "\n"), strings.Split(got, "\n")
	var changed []string
	for i, line := range was {
		if i < len(is) && is[i] != line {
			changed = append(changed, strings.TrimSpace(is[i]))
		}
	}
	if len(changed) != 1 || changed[0] != "kubernetes cluster.local in-addr.arpa ip6.arpa {" {
		t.Errorf("changed lines: got %q, want the plugin's alone", changed)
	}
	if _, err := peerCorefile(got); err == nil {
		t.Error("a Corefile without signpost is taken")
	}
}

// TestPeerManifest checks that kube-proxy knows the same pods as the forwarder does.
func TestPeerManifest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(shipped, "manifests", "forwarder", "configmap.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "mode:") || strings.HasPrefix(line, "clusterCIDR:") {
			if !strings.Contains(peerManifest, " "+line) {
				t.Errorf("the forwarder's configuration has %q, kube-proxy's does not", line)
			}
		}
	}
	for _, variable := range []string{"${SERVER}", "${IMAGE}"} {
		if strings.Count(peerManifest, variable) != 1 {
			t.Errorf("%s is not in the manifest once", variable)
		}
	}
}

// TestKubeProxyImage checks that the image holds what its mode calls.
func TestKubeProxyImage(t *testing.T) {
	if _, err := find([]tool{{"nft", "nftables"}}); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kube-proxy"), []byte("kube-proxy"), 0o700); err != nil {
		t.Fatal(err)
	}
	shell, err := layer(skeleton())
	if err != nil {
		t.Fatal(err)
	}
	i, err := kubeProxyImage(dir, shell)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := store(dir, []archive{{"peer", map[string]v1.Image{peerImage: i}}})
	if err != nil {
		t.Fatal(err)
	}
	files := unpacked(t, paths[0], peerImage)
	for _, path := range []string{"usr/bin/nft", "usr/local/bin/kube-proxy", "etc/passwd"} {
		if files[path] == nil {
			t.Errorf("no %s in the image", path)
		}
	}
}
