//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// A folder is where coredns reads its objects from, in place of an API server. Each file changes at once, by a rename,
// so that a reader sees the old or the new content and nothing in between.
type folder struct {
	dir     string // read by coredns
	staging string // on the same file system, for files in the making
	version int    // the last resourceVersion given out
	content map[string][]byte
}

func newFolder(scratch string) (*folder, error) {
	f := &folder{
		dir: filepath.Join(scratch, "manifests"), staging: filepath.Join(scratch, "staging"),
		content: map[string][]byte{},
	}
	if err := errors.Join(os.Mkdir(f.dir, 0o755), os.Mkdir(f.staging, 0o755)); err != nil {
		return nil, fmt.Errorf("create the manifests folder: %w", err)
	}
	return f, nil
}

// replace makes the folder equal to files, by name: what is the same stays untouched, what is missing is removed. Each
// object that changed gets a new resourceVersion.
func (f *folder) replace(files map[string][]metav1.Object) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text, err := render(files[name], 0)
		if err != nil {
			return fmt.Errorf("render %s: %w", name, err)
		}
		if last, ok := f.content[name]; ok && bytes.Equal(last, text) {
			continue
		}
		f.version++
		versioned, err := render(files[name], f.version)
		if err != nil {
			return fmt.Errorf("render %s: %w", name, err)
		}
		if err := f.write(name, versioned); err != nil {
			return err
		}
		f.content[name] = text
	}
	for name := range f.content {
		if _, ok := files[name]; !ok {
			if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
				return fmt.Errorf("remove a manifest: %w", err)
			}
			delete(f.content, name)
		}
	}
	return nil
}

func (f *folder) write(name string, text []byte) error {
	temporary := filepath.Join(f.staging, name)
	err := os.WriteFile(temporary, text, 0o644)
	if err == nil {
		err = os.Rename(temporary, filepath.Join(f.dir, name))
	}
	if err != nil {
		return fmt.Errorf("write manifest %s: %w", name, err)
	}
	return nil
}

// render is the YAML of a file: its objects as documents, with a resourceVersion unless it is 0.
func render(objects []metav1.Object, version int) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		o.SetResourceVersion("")
		if version > 0 {
			o.SetResourceVersion(strconv.Itoa(version))
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.Bytes(), nil
}
