package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// shipped is where the module that ships is, seen from this one: `go -C test/cluster run` and `go test` both
// start in the folder of this one.
const shipped = "../.."

// images returns archives, as `docker save` writes them, of all that pods of the cluster may run: Signpost
// itself, compiled from this tree, what a newcomer tries it with, and what upstream's tests want if they have
// been built. An archive is named by its contents and written once; layers that images share are in it once.
func images(ctx context.Context, e *env) ([]string, error) {
	dir := filepath.Join(e.cache, "signpost", "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the images: %w", err)
	}
	unlock, err := lock(ctx, e, filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := sweep(dir); err != nil {
		return nil, err
	}
	binaries, err := compileOwn(ctx, e)
	if err != nil {
		return nil, err
	}
	files, err := busyboxFiles()
	if err != nil {
		return nil, err
	}
	shell, err := layer(withoutDoubles(append(skeleton(), files...)))
	if err != nil {
		return nil, err
	}
	own, err := ownImages(binaries, shell)
	if err != nil {
		return nil, err
	}
	archives := []archive{{"signpost", own}}
	if programs, err := built(e, "e2e"); err == nil {
		upstream, err := testImages(ctx, programs, binaries, shell)
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive{"e2e", upstream})
	}
	if programs, err := built(e, "cluster"); err == nil {
		peers, err := peerImages(programs, own, shell)
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive{"peers", peers})
	}
	return store(dir, archives)
}

// ownPrograms are the programs of the images, by their folders: two of the module that ships, two of this one.
// CoreDNS is the default image's, without the plugins for the zones of cloud vendors.
var ownPrograms = map[string]string{
	"coredns":   shipped + "/cmd/coredns",
	"forwarder": shipped + "/cmd/forwarder",
	"pause":     "./pause",
	"probe":     "./probe",
}

// ownBinary is where a program of ours is when it is compiled.
func ownBinary(e *env, program string) string {
	return filepath.Join(e.cache, "signpost", "images", "bin", program)
}

// compileOwn compiles our programs, as the image build files do, and returns their paths by name.
func compileOwn(ctx context.Context, e *env) (map[string]string, error) {
	binaries := map[string]string{}
	for _, program := range slices.Sorted(maps.Keys(ownPrograms)) {
		file := ownBinary(e, program)
		// The build cache makes this quick if nothing has changed.
		cmd := exec.CommandContext(ctx, "go", "-C", ownPrograms[program], "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", file, ".")
		cmd.Env = append(os.Environ(), buildEnv()...)
		own(cmd)
		show := newProgress(e.stderr, fmt.Sprintf("%-23s", program))
		cmd.Stderr = show
		err := cmd.Run()
		show.finish(err == nil)
		if err != nil {
			return nil, fmt.Errorf("compile %s for its image: %w\n%s", program, err, show.tail())
		}
		binaries[program] = file
	}
	return binaries, nil
}

// ownImages is what the image build files of the repository make, by their tags, and a shell beside them.
func ownImages(binaries map[string]string, shell v1.Layer) (map[string]v1.Image, error) {
	const certificates = "/etc/ssl/certs/ca-certificates.crt"
	iptables, err := iptablesFiles()
	if err != nil {
		return nil, err
	}
	dns := inode{path: "coredns", from: binaries["coredns"], mode: 0o755, capabilities: []uint{unix.CAP_NET_BIND_SERVICE}}
	all := map[string]v1.Image{}
	for _, i := range []struct {
		tag    string
		config v1.Config
		files  []inode
	}{
		{"signpost/coredns:dev", v1.Config{Entrypoint: []string{"/coredns"}, User: "65532:65532"}, []inode{
			dirInode("etc"), dirInode("etc/ssl"), dirInode("etc/ssl/certs"), {path: certificates[1:], from: certificates, mode: 0o644}, dns,
		}},
		{"signpost/forwarder:dev", v1.Config{Entrypoint: []string{"/forwarder"}}, append(iptables,
			fileInode("forwarder", binaries["forwarder"]),
			dirInode("usr/local"), dirInode("usr/local/bin"), linkInode("usr/local/bin/kube-proxy", "/forwarder"),
		)},
		{"signpost/pause:dev", v1.Config{Entrypoint: []string{"/pause"}}, []inode{fileInode("pause", binaries["pause"])}},
		{"signpost/probe:dev", v1.Config{Entrypoint: []string{"/probe"}, Cmd: []string{"serve"}}, []inode{fileInode("probe", binaries["probe"])}},
	} {
		files, err := layer(withoutDoubles(i.files))
		if err != nil {
			return nil, err
		}
		if all[i.tag], err = image(i.config, files); err != nil {
			return nil, err
		}
	}
	all["busybox:latest"], err = image(v1.Config{Cmd: []string{"sh"}}, shell)
	return all, err
}

// image puts layers together.
func image(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	i, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("make an image of layers: %w", err)
	}
	file, err := i.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(i, file)
}

// archive is a file to be, with images by their tags.
type archive struct {
	name   string
	images map[string]v1.Image
}

// archivesKept is how long an archive stays that nobody has asked for: another cluster may still read it.
const archivesKept = 24 * time.Hour

// store writes the archives that dir lacks, removes those that have not been asked for in a while, and
// returns the paths. The caller holds the lock of dir.
func store(dir string, archives []archive) ([]string, error) {
	var paths []string
	for _, a := range archives {
		path, err := a.store(dir)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		return nil, err
	}
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > archivesKept {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("remove an old archive of images: %w", err)
			}
		}
	}
	return paths, nil
}

func (a archive) store(dir string) (string, error) {
	h := sha256.New()
	tags := map[name.Tag]v1.Image{}
	for _, tag := range slices.Sorted(maps.Keys(a.images)) {
		digest, err := a.images[tag].Digest()
		if err != nil {
			return "", err
		}
		parsed, err := name.NewTag(tag)
		if err != nil {
			return "", fmt.Errorf("the tag of an image: %w", err)
		}
		fmt.Fprintln(h, tag, digest)
		tags[parsed] = a.images[tag]
	}
	path := filepath.Join(dir, a.name+"-"+hex.EncodeToString(h.Sum(nil))[:12]+".tar")
	now := time.Now()
	if err := os.Chtimes(path, now, now); err == nil {
		return path, nil
	}
	defer os.Remove(path + temporary)
	if err := tarball.MultiWriteToFile(path+temporary, tags); err != nil {
		return "", fmt.Errorf("write an archive of images: %w", err)
	}
	return path, os.Rename(path+temporary, path)
}
