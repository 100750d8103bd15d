package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// unpacked is what a container of an image sees, by path.
func unpacked(t *testing.T, archive, tag string) map[string]*tar.Header {
	t.Helper()
	parsed, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	i, err := tarball.ImageFromPath(archive, &parsed)
	if err != nil {
		t.Fatalf("%s: %v", tag, err)
	}
	layers, err := i.Layers()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*tar.Header{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(r); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimSuffix(header.Name, "/")] = header
		}
	}
	return all
}

// TestOwnImages checks what pods that run Signpost's images see, against what the image build files say.
func TestOwnImages(t *testing.T) {
	dir := t.TempDir()
	binaries := map[string]string{}
	for program := range ownPrograms {
		binaries[program] = filepath.Join(dir, program)
		if err := os.WriteFile(binaries[program], []byte("the program "+program), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	shell, err := layer(skeleton())
	if err != nil {
		t.Fatal(err)
	}
	all, err := ownImages(binaries, shell)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := store(dir, []archive{{"signpost", all}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		tag, path, want string
	}{
		{"signpost/coredns:dev", "coredns", "-rwxr-xr-x root 19 bytes, may bind low ports"},
		{"signpost/coredns:dev", "etc/ssl/certs/ca-certificates.crt", "-rw-r--r-- root"},
		{"signpost/forwarder:dev", "forwarder", "-rwxr-xr-x root 21 bytes"},
		{"signpost/forwarder:dev", "usr/local/bin/kube-proxy", "Lrwxrwxrwx root -> /forwarder"},
		{"signpost/pause:dev", "pause", "-rwxr-xr-x root 17 bytes"},
		{"busybox:latest", "tmp", "dtrwxrwxrwx root"},
		{"busybox:latest", "bin", "Lrwxrwxrwx root -> usr/bin"},
	} {
		header := unpacked(t, paths[0], tt.tag)[tt.path]
		if header == nil {
			t.Errorf("%s: no %s in it", tt.tag, tt.path)
			continue
		}
		if got := describe(header); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s is %q, want %q", tt.tag, tt.path, got, tt.want)
		}
	}
	for tag, user := range map[string]string{"signpost/coredns:dev": "65532:65532", "signpost/forwarder:dev": ""} {
		file, err := all[tag].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if file.Config.User != user || len(file.Config.Entrypoint) != 1 {
			t.Errorf("%s: got user %q and entry point %q, want user %q", tag, file.Config.User, file.Config.Entrypoint, user)
		}
	}
}

func describe(h *tar.Header) string {
	owner := fmt.Sprint(h.Uid, ":", h.Gid)
	if owner == "0:0" {
		owner = "root"
	}
	s := h.FileInfo().Mode().String() + " " + owner
	switch h.Typeflag {
	case tar.TypeSymlink:
		s += " -> " + h.Linkname
	case tar.TypeReg:
		s += fmt.Sprintf(" %d bytes", h.Size)
	}
	if h.PAXRecords["SCHILY.xattr.security.capability"] == lowPorts {
		s += ", may bind low ports"
	}
	return s
}

// lowPorts is what `getfattr -e hex -n security.capability` prints after `setcap cap_net_bind_service=+ep`.
const lowPorts = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// TestShellImage runs programs of the images' trees: with only what is in them, they start.
func TestShellImage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may change the root folder of a process")
	}
	if _, err := find(append(tools, busybox)); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	base, err := busyboxFiles()
	if err != nil {
		t.Fatal(err)
	}
	more, err := toolFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		layers [][]inode
		run    []string
	}{
		{"busybox", [][]inode{append(skeleton(), base...)}, []string{
			"busybox true", "sh -c true", "nslookup --help", "wget --help", "nc -h",
		}},
		{"tools", [][]inode{append(skeleton(), base...), more}, []string{
			"sh -c true", "bash -c true", "curl --version", "dig -v", "getent hosts localhost", "ip -V", "nc -h", "ping -V", "ss -V", "wget --version", "seq 3",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, files := range tt.layers {
				lay(t, dir, withoutDoubles(files))
			}
			for _, line := range tt.run {
				args := append([]string{dir, "/usr/bin/env", "-i", "PATH=/usr/bin:/bin"}, strings.Fields(line)...)
				out, err := exec.CommandContext(t.Context(), "/usr/sbin/chroot", args...).CombinedOutput()
				var exit *exec.ExitError
				if errors.As(err, &exit) && exit.ExitCode() < 126 {
					continue // it ran, and did not like what it was asked
				}
				if err != nil {
					t.Errorf("%s: %v\n%s", line, err, out)
				}
			}
			target, err := os.Readlink(filepath.Join(dir, "usr/bin/sh"))
			if want := map[string]string{"busybox": "busybox", "tools": "dash"}[tt.name]; err != nil || target != want {
				t.Errorf("sh is %s (%v), want %s", target, err, want)
			}
		})
	}
}

// TestIptablesFiles loads, in a tree of only these files, the extensions of which rules of Services are made.
func TestIptablesFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may change the root folder of a process")
	}
	files, err := iptablesFiles()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lay(t, dir, withoutDoubles(files))
	for _, program := range []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
		for _, extension := range []string{"-m statistic", "-m recent", "-m addrtype", "-m comment", "-m conntrack", "-m mark", "-j MARK", "-j DNAT", "-j MASQUERADE", "-j REJECT"} {
			args := append([]string{dir, "/usr/bin/" + program}, append(strings.Fields(extension), "--help")...)
			if out, err := exec.CommandContext(t.Context(), "/usr/sbin/chroot", args...).CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v\n%s", program, extension, err, lastLines(string(out), 5))
			}
		}
	}
}

// lay puts files into a folder as a layer of an image is laid over those before it.
func lay(t *testing.T, dir string, files []inode) {
	t.Helper()
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		var err error
		switch {
		case strings.HasSuffix(f.path, "/"):
			err = os.MkdirAll(path, os.FileMode(f.mode).Perm())
		case f.link != "":
			os.Remove(path)
			err = os.Symlink(f.link, path)
		default:
			contents := []byte(f.text)
			if f.from != "" {
				contents, err = os.ReadFile(f.from)
			}
			os.Remove(path)
			if err == nil {
				err = os.WriteFile(path, contents, os.FileMode(f.mode).Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestStore checks that an archive is written once, and goes when nobody has wanted it for long.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	of := func(text string) []archive {
		l, err := layer([]inode{textInode("file", text)})
		if err != nil {
			t.Fatal(err)
		}
		i, err := image(v1.Config{}, l)
		if err != nil {
			t.Fatal(err)
		}
		return []archive{{"some", map[string]v1.Image{"some/a:1": i, "some/b:1": i}}}
	}
	put := func(text string) string {
		paths, err := store(dir, of(text))
		if err != nil {
			t.Fatal(err)
		}
		return paths[0]
	}
	first := put("first")
	before, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	if again := put("first"); again != first {
		t.Errorf("the same contents: got %s and %s", first, again)
	}
	if after, err := os.Stat(first); err != nil || !os.SameFile(before, after) {
		t.Errorf("an archive that was there is written again (%v)", err)
	}
	second := put("second")
	if second == first {
		t.Error("other contents have the same name")
	}
	old := time.Now().Add(-archivesKept - time.Minute)
	if err := os.Chtimes(first, old, old); err != nil {
		t.Fatal(err)
	}
	put("second")
	if got, want := strings.Join(files(t, dir), " "), filepath.Base(second); got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
	// A layer that two images share is in the archive once.
	f, err := os.Open(second)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, header.Name)
	}
	if len(names) != 3 {
		t.Errorf("the archive holds %q, want a configuration, a layer and the manifest", names)
	}
}

func TestMissingTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := find([]tool{{"no-such-program", "one"}, {"no-such-program-either", "two"}})
	if err == nil || !strings.Contains(err.Error(), "apt-get install one two") {
		t.Errorf("got %v, want what to install", err)
	}
}

func TestKnownTags(t *testing.T) {
	listed := []string{"h/agnhost:2.63.0", "h/nginx:1", "h/pause:3", "h/agnhost:2.55"}
	got, err := knownTags(listed, []string{"agnhost", "pause"})
	if want := []string{"h/agnhost:2.55", "h/agnhost:2.63.0", "h/pause:3"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := knownTags(listed, []string{"agnhost", "porter"}); err == nil || !strings.Contains(err.Error(), "does not list porter") {
		t.Errorf("one is not listed: error %v", err)
	}
}

func TestShortName(t *testing.T) {
	for tag, want := range map[string]string{"host.example/path/agnhost:1.0": "agnhost", "busybox": "busybox", "host.example:5000/a": "a"} {
		if got := shortName(tag); got != want {
			t.Errorf("%s: got %s, want %s", tag, got, want)
		}
	}
}

// TestOwnProgramsAreThoseOfTheImageBuildFiles checks that the cluster runs what the release would. Programs of
// this module are no part of a release.
func TestOwnProgramsAreThoseOfTheImageBuildFiles(t *testing.T) {
	var released []string
	for program, folder := range ownPrograms {
		if strings.HasPrefix(folder, shipped+"/") {
			released = append(released, program)
		}
	}
	slices.Sort(released)
	if want := []string{"coredns", "forwarder"}; !slices.Equal(released, want) {
		t.Fatalf("the cluster compiles %q of the module that ships, want %q", released, want)
	}
	for _, program := range released {
		text, err := os.ReadFile(filepath.Join(shipped, "manifests", "images", program+".Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CGO_ENABLED=0", "-trimpath -ldflags '-s -w'", "./cmd/" + program, `ENTRYPOINT ["/` + program + `"]`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s.Dockerfile does not say %s: the cluster's image is another one", program, want)
			}
		}
	}
}
