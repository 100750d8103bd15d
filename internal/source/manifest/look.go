package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// largestFile limits the size of a file: more than any cluster needs, and little enough for
// a disk image in this folder to do no harm.
const largestFile = 64 << 20

// isHidden reports whether a name is ignored; see the package doc.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") }

// isManifest reports whether the name of a file is that of a manifest.
func isManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !isHidden(name)
	}
	return false
}

// listing is the result of a scan of the folder.
type listing struct {
	files   map[string]os.FileInfo // by path, with links resolved
	folders []string
	blind   map[string]error // unreadable subfolders
}

// list scans the folder. It returns an error of the folder itself.
func list(dir string) (*listing, error) {
	l := &listing{files: map[string]os.FileInfo{}, blind: map[string]error{}}
	root, err := filepath.EvalSymlinks(dir) // WalkDir does not follow the root
	if err != nil {
		return nil, err
	}
	return l, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if path == root {
			path = dir
		} else {
			path = filepath.Join(dir, strings.TrimPrefix(path, root))
		}
		switch {
		case err != nil && path == dir:
			return err
		case errors.Is(err, fs.ErrNotExist): // removed after its parent was read
		case err != nil:
			l.blind[path] = err
		case path != dir && isHidden(d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
			l.folders = append(l.folders, path)
		case isManifest(d.Name()):
			// Ignore files that vanish meanwhile, broken links, and what is not a regular
			// file (a socket, a link to a folder).
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				l.files[path] = info
			}
		}
		return nil
	})
}

// same reports whether a file appears unchanged without reading it.
func same(a, b os.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// read reads a file and returns its info at that time. It returns fs.ErrNotExist for a
// missing file.
func read(path string) (content []byte, info os.FileInfo, err error) {
	// Without O_NONBLOCK, opening a named pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	if info.Size() > largestFile {
		return nil, info, fmt.Errorf("%s has %d bytes: want at most %d", path, info.Size(), largestFile)
	}
	content, err = io.ReadAll(f)
	return content, info, err
}

// hides reports whether a file is in an unreadable subfolder.
func (l *listing) hides(path string) bool {
	for folder := range l.blind {
		if strings.HasPrefix(path, folder+string(filepath.Separator)) {
			return true
		}
	}
	return false
}
