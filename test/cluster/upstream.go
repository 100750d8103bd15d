package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// upstreamImage is an image of upstream's tests: layers, one upon the other, and what a container starts.
type upstreamImage struct {
	config v1.Config
	layers []v1.Layer
}

// testImages is what upstream's tests ask for, under the names by which they do.
func testImages(ctx context.Context, programs string, binaries map[string]string, shell v1.Layer) (map[string]v1.Image, error) {
	known, err := upstreamImages(ctx, programs, binaries, shell)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(programs, "e2e.test"), "--list-images").Output()
	if err != nil {
		return nil, fmt.Errorf("ask e2e.test for its images: %w", err)
	}
	tags, err := knownTags(strings.Fields(string(out)), slices.Sorted(maps.Keys(known)))
	if err != nil {
		return nil, err
	}
	all := map[string]v1.Image{}
	for _, tag := range tags {
		k := known[shortName(tag)]
		if all[tag], err = image(k.config, k.layers...); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// knownTags returns the tags of a list whose short names are known. Each of those must be there, and may be there
// in several versions: e2e.test lists agnhost thrice and busybox twice, in another order each time.
func knownTags(listed, known []string) ([]string, error) {
	var tags []string
	absent := slices.Clone(known)
	for _, tag := range listed {
		if slices.Contains(known, shortName(tag)) {
			tags = append(tags, tag)
			absent = slices.DeleteFunc(absent, func(name string) bool { return name == shortName(tag) })
		}
	}
	if len(absent) > 0 {
		return nil, fmt.Errorf("e2e.test --list-images does not list %s", strings.Join(absent, ", "))
	}
	slices.Sort(tags)
	return tags, nil
}

// upstreamImages returns the images by their short names. Those with tools in them have the same tools: they
// are Debian's, and the layer is there once.
func upstreamImages(ctx context.Context, programs string, binaries map[string]string, shell v1.Layer) (map[string]upstreamImage, error) {
	files, err := toolFiles()
	if err != nil {
		return nil, err
	}
	// Some tests start a DNS server of their own in such an image: CoreDNS 1.6.2 or newer.
	files = append(files, fileInode("coredns", binaries["coredns"]))
	sources, err := kubernetesSources(ctx)
	if err != nil {
		return nil, err
	}
	regression := "regression-issue-74839"
	var layers []v1.Layer
	for _, files := range [][]inode{
		withoutDoubles(files),
		{
			fileInode("agnhost", filepath.Join(programs, "agnhost")), linkInode("agnhost-2", "agnhost"), dirInode("uploads"),
			// Its subcommand porter serves HTTPS with these.
			fileInode("localhost.crt", filepath.Join(sources, "test/images/agnhost/porter/localhost.crt")),
			fileInode("localhost.key", filepath.Join(sources, "test/images/agnhost/porter/localhost.key")),
		},
		{fileInode(regression, filepath.Join(programs, regression))},
		{fileInode("pause", binaries["pause"])},
	} {
		l, err := layer(files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	toolbox := upstreamImage{v1.Config{Cmd: []string{"sh"}}, []v1.Layer{shell, layers[0]}}
	return map[string]upstreamImage{
		"agnhost":             {v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, []v1.Layer{shell, layers[0], layers[1]}},
		"busybox":             toolbox,
		"glibc-dns-testing":   toolbox,
		"distroless-iptables": toolbox, // asked for its conntrack
		regression:            {v1.Config{Entrypoint: []string{"/" + regression}}, []v1.Layer{layers[2]}},
		"pause":               {v1.Config{Entrypoint: []string{"/pause"}}, []v1.Layer{layers[3]}},
	}, nil
}

// kubernetesSources is the folder of the module k8s.io/kubernetes, as it is in go.sum.
func kubernetesSources(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	cmd.Env = append(os.Environ(), buildEnv()...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the sources of Kubernetes: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// shortName is the part of an image's name that says what it is: "agnhost" of "host/path/agnhost:1.0".
func shortName(tag string) string {
	short, _, _ := strings.Cut(tag[strings.LastIndexByte(tag, '/')+1:], ":")
	return short
}
