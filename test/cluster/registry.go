package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// registry serves the images of archives, as `docker save` writes them, to the nodes (the pull half of the OCI
// distribution specification, v1.1). So a pod whose image is always pulled works as it does elsewhere, and a
// node fetches only what its pods use.
type registry struct {
	mu        sync.Mutex
	manifests map[string]blob // by "name:tag" and "name@digest"
	blobs     map[string]blob // by digest
}

// blob is a piece of an archive, or bytes of our own.
type blob struct {
	kind   string // media type
	digest string
	file   string // the archive; empty if bytes are set
	offset int64
	size   int64
	bytes  []byte
}

func newRegistry() *registry {
	return &registry{manifests: map[string]blob{}, blobs: map[string]blob{}}
}

const (
	manifestKind = "application/vnd.oci.image.manifest.v1+json"
	configKind   = "application/vnd.oci.image.config.v1+json"
	layerKind    = "application/vnd.oci.image.layer.v1.tar"
)

// descriptor names a blob in a manifest.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func (b blob) descriptor() descriptor {
	return descriptor{MediaType: b.kind, Digest: b.digest, Size: b.size}
}

// add takes in the images of an archive and returns their names. A tag that is known moves to the new image.
func (r *registry) add(archive string) ([]string, error) {
	parts, index, err := readArchive(archive)
	if err != nil {
		return nil, fmt.Errorf("read the image archive %s: %w", archive, err)
	}
	var names []string
	for _, image := range index {
		config, ok := parts[image.Config]
		if !ok {
			return nil, fmt.Errorf("read the image archive %s: no %s in it", archive, image.Config)
		}
		config.kind = configKind
		blobs := []blob{config}
		layers := []descriptor{}
		for _, name := range image.Layers {
			layer, ok := parts[name]
			if !ok {
				return nil, fmt.Errorf("read the image archive %s: no %s in it", archive, name)
			}
			layers = append(layers, layer.descriptor())
			blobs = append(blobs, layer)
		}
		text, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": manifestKind, "config": config.descriptor(), "layers": layers,
		})
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		manifest := blob{kind: manifestKind, digest: "sha256:" + hex.EncodeToString(sum[:]), bytes: text, size: int64(len(text))}
		r.put(image.RepoTags, manifest, blobs)
		names = append(names, image.RepoTags...)
	}
	return names, nil
}

func (r *registry) put(tags []string, manifest blob, blobs []blob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range blobs {
		r.blobs[b.digest] = b
	}
	for _, tag := range tags {
		name, version := splitTag(tag)
		r.manifests[name+":"+version] = manifest
		r.manifests[name+"@"+manifest.digest] = manifest
	}
}

// splitTag takes "host.example/a/b:tag" apart into "a/b" and "tag". The host is dropped: whatever registry an
// image is from, the cluster asks this one.
func splitTag(reference string) (name, tag string) {
	name, tag = reference, "latest"
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name, tag = name[:at], name[at+1:]
	}
	if host, rest, ok := strings.Cut(name, "/"); ok && strings.ContainsAny(host, ".:") {
		name = rest
	}
	return strings.TrimPrefix(name, "library/"), tag
}

// archived is an entry of an archive's manifest.json.
type archived struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readArchive finds the pieces of an archive, by their names, and its list of images.
func readArchive(path string) (map[string]blob, []archived, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	parts := map[string]blob{}
	var index []archived
	for t := tar.NewReader(f); ; {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if header.Name == "manifest.json" {
			if err := json.NewDecoder(t).Decode(&index); err != nil {
				return nil, nil, fmt.Errorf("manifest.json: %w", err)
			}
			continue
		}
		// The reader does not read ahead: the file stands where the piece begins.
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, nil, err
		}
		b := blob{kind: layerKind, file: path, offset: offset, size: header.Size}
		sum, start := sha256.New(), &firstBytes{}
		if _, err := io.Copy(io.MultiWriter(sum, start), t); err != nil {
			return nil, nil, err
		}
		if bytes.HasPrefix(start.b, []byte{0x1f, 0x8b}) {
			b.kind += "+gzip"
		}
		b.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
		parts[header.Name] = b
	}
	if len(index) == 0 {
		return nil, nil, errors.New("no manifest.json that lists an image: expected what `docker save` writes")
	}
	return parts, index, nil
}

// firstBytes keeps the first two bytes written to it.
type firstBytes struct{ b []byte }

func (f *firstBytes) Write(p []byte) (int, error) {
	f.b = append(f.b, p[:min(len(p), 2-len(f.b))]...)
	return len(p), nil
}

// ServeHTTP answers /v2/NAME/manifests/REFERENCE and /v2/NAME/blobs/DIGEST.
func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	path, ok := strings.CutPrefix(q.URL.Path, "/v2/")
	if q.Method != http.MethodGet && q.Method != http.MethodHead || !ok {
		http.Error(w, "this registry can only be pulled from", http.StatusMethodNotAllowed)
		return
	}
	if path == "" {
		return // what it speaks: 200
	}
	b, ok := r.find(path)
	if !ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"%s was not loaded into this cluster"}]}`, path)
		return
	}
	if err := b.serve(w, q); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (r *registry) find(path string) (blob, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := strings.LastIndex(path, "/manifests/"); at >= 0 {
		name, reference := strings.TrimPrefix(path[:at], "library/"), path[at+len("/manifests/"):]
		separator := ":"
		if strings.HasPrefix(reference, "sha256:") {
			separator = "@"
		}
		b, ok := r.manifests[name+separator+reference]
		return b, ok
	}
	at := strings.LastIndex(path, "/blobs/")
	if at < 0 {
		return blob{}, false
	}
	b, ok := r.blobs[path[at+len("/blobs/"):]]
	return b, ok
}

func (b blob) serve(w http.ResponseWriter, q *http.Request) error {
	w.Header().Set("Docker-Content-Digest", b.digest)
	w.Header().Set("Content-Type", b.kind)
	if b.file == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(b.bytes)))
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(b.bytes))
		return nil
	}
	f, err := os.Open(b.file)
	if err != nil {
		return err
	}
	defer f.Close()
	http.ServeContent(w, q, "", time.Time{}, io.NewSectionReader(f, b.offset, b.size))
	return nil
}
