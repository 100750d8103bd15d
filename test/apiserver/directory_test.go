package apiserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirectory(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	living, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	dead, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the kernel does
	foreign := filepath.Join(tmp, strings.TrimSuffix(directoryPattern, "*")+"of-somebody-else")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{living.path: true, dead.path: false, foreign: true, next.path: true} {
		if _, err := os.Stat(path); (err == nil) != want || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: want it there: %v, got %v", path, want, err)
		}
	}
	if err := errors.Join(living.remove(), next.remove()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 1 {
		t.Errorf("left: %v (%v)", left, err)
	}
}

// TestDirectoryOfALongPath wants room for a socket where TMPDIR leaves none.
func TestDirectoryOfALongPath(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	d, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	if socket := filepath.Join(d.path, etcdSocket); len(socket) > maxSocketPath {
		t.Errorf("%s has %d bytes", socket, len(socket))
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
}
