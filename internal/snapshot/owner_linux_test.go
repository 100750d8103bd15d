package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file that another user can have written is refused, whatever its sum.
func TestForeignFilesAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving files to another user needs root")
	}
	path := filepath.Join(t.TempDir(), "x.snapshot")
	accept := func(*Header) error { return nil }
	for _, c := range []struct {
		name     string
		uid, gid int
		mode     os.FileMode
		want     string // part of the refusal
	}{
		{"ours", 0, 0, 0o600, ""},
		{"ours, to be read by all", 0, 0, 0o644, ""},
		{"another user's", 12345, 0, 0o600, "its owner is user 12345: want 0 or root"},
		{"written by all", 0, 0, 0o666, "its mode is -rw-rw-rw-"},
		{"written by others", 0, 0, 0o602, "its mode is -rw-----w-"},
		{"written by root's group", 0, 0, 0o660, "its mode is -rw-rw----"},
		{"written by a group that is not ours", 0, 12345, 0o660, "group 12345"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := save(path, Header{Heard: time.Now()}, nil); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chown(path, c.uid, c.gid), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			_, _, _, err := load(path, accept)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
