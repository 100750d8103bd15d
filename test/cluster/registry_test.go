package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// testImage is an image of one file, whose text tells it from others.
func testImage(t *testing.T, text string) v1.Image {
	t.Helper()
	files, err := layer([]inode{textInode("etc/motd", text)})
	if err != nil {
		t.Fatal(err)
	}
	i, err := image(v1.Config{Cmd: []string{"sh"}}, files)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func testArchive(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	path, err := archive{"test", images}.store(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRegistryServesWhatItWasGiven pulls with a client that knows nothing of ours and checks every digest.
func TestRegistryServesWhatItWasGiven(t *testing.T) {
	r := newRegistry()
	server := httptest.NewServer(r)
	defer server.Close()
	for _, text := range []string{"first", "second"} { // the tags move
		images := map[string]v1.Image{"busybox:latest": testImage(t, text), "some.example/a/b:1.0": testImage(t, text+" b")}
		names, err := r.add(testArchive(t, images))
		if err != nil || len(names) != 2 {
			t.Fatalf("add: %q, %v", names, err)
		}
		for path, tag := range map[string]string{"library/busybox/manifests/latest": "busybox:latest", "a/b/manifests/1.0": "some.example/a/b:1.0"} {
			pull(t, server.URL+"/v2/"+path, images[tag], text)
		}
	}
}

// pull fetches an image as a node does, and checks every digest and length.
func pull(t *testing.T, url string, want v1.Image, text string) {
	t.Helper()
	raw, digest := fetch(t, url)
	if again, _ := fetch(t, url[:strings.LastIndexByte(url, '/')+1]+digest); !bytes.Equal(again, raw) {
		t.Errorf("%s: another manifest by its digest", url)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if config, err := want.ConfigName(); err != nil || manifest.Config.Digest != config {
		t.Errorf("%s: config %v, want %v (%v)", url, manifest.Config.Digest, config, err)
	}
	blobs := url[:strings.Index(url, "/manifests/")] + "/blobs/"
	var last []byte
	for _, d := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		var got string
		if last, got = fetch(t, blobs+d.Digest.String()); int64(len(last)) != d.Size || got != d.Digest.String() {
			t.Errorf("%s%v: %d bytes of %s, want %d", blobs, d.Digest, len(last), got, d.Size)
		}
	}
	if !bytes.Contains(last, []byte(text)) {
		t.Errorf("%s: the layer does not hold %q", url, text)
	}
}

// fetch returns what is at an address and the digest of that.
func fetch(t *testing.T, url string) (body []byte, digest string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	digest = fmt.Sprintf("sha256:%x", sha256.Sum256(body))
	if got := answer.Header.Get("Docker-Content-Digest"); got != digest {
		t.Errorf("%s says that it is %s, and is %s", url, got, digest)
	}
	return body, digest
}

func TestRegistrySaysNo(t *testing.T) {
	server := httptest.NewServer(newRegistry())
	defer server.Close()
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/nothing/manifests/latest", 404},
		{"GET", "/v2/nothing/blobs/sha256:00", 404},
		{"GET", "/v2/nothing", 404},
		{"GET", "/", 405},
		{"POST", "/v2/a/blobs/uploads/", 405},
	} {
		q, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, answer.Status, c.want)
		}
	}
}

func TestRegistryRefusesWhatIsNoArchive(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.tar")
	if err := os.WriteFile(empty, make([]byte, 1024), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "absent.tar"): "no such file",
		empty:                            "no manifest.json",
	} {
		if _, err := newRegistry().add(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q and the path in it", path, err, want)
		}
	}
}

func TestSplitTag(t *testing.T) {
	for reference, want := range map[string][2]string{
		"busybox":                  {"busybox", "latest"},
		"library/busybox:1":        {"busybox", "1"},
		"signpost/coredns:dev":     {"signpost/coredns", "dev"},
		"some.example/a/b:1.0":     {"a/b", "1.0"},
		"localhost:5000/a":         {"a", "latest"},
		"some.example:5000/a/b:1":  {"a/b", "1"},
		"some.example/library/c:x": {"c", "x"},
	} {
		name, tag := splitTag(reference)
		if got := [2]string{name, tag}; got != want {
			t.Errorf("%s: got %q, want %q", reference, got, want)
		}
	}
}

// TestNodeConfigurations checks what only containerd and the kubelet would complain about.
func TestNodeConfigurations(t *testing.T) {
	p := place(t.TempDir())
	for _, n := range nodes() {
		if err := p.writeNode(n, "/usr/lib/cni"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"cni.d/10-pods.conflist", "kubelet.json"} {
			b, err := os.ReadFile(p.file(n.name, name))
			if err != nil || !json.Valid(b) {
				t.Errorf("%s of %s: no JSON (%v)", name, n.name, err)
			}
		}
		b, err := os.ReadFile(p.file(n.name, "containerd.toml"))
		if err != nil || strings.Contains(string(b), "%!") {
			t.Errorf("containerd.toml of %s: %v\n%s", n.name, err, b)
		}
	}
}
