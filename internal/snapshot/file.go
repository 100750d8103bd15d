package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Names in the folder. The temporary ones are unique, so that several processes
// may share a folder: each renames a whole file of its own.
const (
	prefix     = "signpost-"
	suffix     = ".snapshot"
	tempSuffix = ".tmp"
)

// How long other files stay in the folder: temporary files of a process that was killed
// while it wrote, and snapshots of an identity that is no longer in use.
const (
	keepTemp    = time.Hour
	keepForeign = 30 * 24 * time.Hour
)

// FileName returns the file of an identity's snapshot. Each identity has its own file.
func FileName(dir, identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return filepath.Join(dir, prefix+hex.EncodeToString(sum[:8])+suffix)
}

// load reads a file. The error is a *Refusal.
func load(path string, accept func(*Header) error) (*Header, []cluster.Object, int64, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, nil, 0, err
	}
	defer f.Close()
	h, objects, err := decode(f, size, accept)
	return h, objects, size, err
}

// open opens a regular file that only this process's user, its group or root can have written; opening a
// pipe would wait for a writer. The folder is not checked: a container's is often open to all.
func open(path string) (*os.File, int64, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, refuse(None, "there is none")
	case err != nil:
		return nil, 0, refuse(Unreadable, "%w", err)
	case !info.Mode().IsRegular():
		return nil, 0, refuse(Unreadable, "it is a %v: want a regular file", info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, refuse(Unreadable, "%w: want a file that this process can read", err)
	}
	// Another process may have replaced the file since, so check the open one.
	if info, err = f.Stat(); err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, refuse(Unreadable, "%w", err)
	}
	return f, info.Size(), nil
}

// heardOf returns when the data of a file were confirmed, without checking its sum. It
// returns zero if the file is not readable.
func heardOf(path string) time.Time {
	f, _, err := open(path)
	if err != nil {
		return time.Time{}
	}
	defer f.Close()
	if readMagic(f) != nil {
		return time.Time{}
	}
	h, err := readHeader(gob.NewDecoder(bufio.NewReader(f)))
	if err != nil {
		return time.Time{}
	}
	return h.Heard
}

// save writes a file and returns its size. At every moment, and after a power failure, either
// the old file or the new one exists, and is complete.
func save(path string, h Header, objects []cluster.Object) (size int64, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(dir, "."+prefix+"*"+tempSuffix) // mode 0600
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = f.Close() // for the second time, after success
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := encode(f, h, objects); err != nil {
		return 0, fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("syncing %s: %w", f.Name(), err)
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, err
	}
	syncDir(dir)
	return info.Size(), nil
}

// syncDir makes the rename durable. If the file system does not support that, the old file
// may come back, as after a crash a moment earlier.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// tidy removes old files that no process will use again.
func tidy(dir, own string, now time.Time) {
	for pattern, keep := range map[string]time.Duration{
		"." + prefix + "*" + tempSuffix: keepTemp,
		prefix + "*" + suffix:           keepForeign,
	} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(dir), pattern))
		if err != nil {
			continue
		}
		for _, path := range found {
			info, err := os.Lstat(path)
			if err == nil && info.Mode().IsRegular() && path != own && now.Sub(info.ModTime()) > keep {
				_ = os.Remove(path)
			}
		}
	}
}

// escapeGlob escapes a folder's name for use in a pattern.
func escapeGlob(dir string) string {
	var out []byte
	for i := range len(dir) {
		switch dir[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, dir[i])
	}
	return string(out)
}
