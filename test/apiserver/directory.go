package apiserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// directoryPattern names the servers' directories below the system's temporary one.
	directoryPattern = "apiserver-*"
	// maxSocketPath is the length of the longest path that a Unix socket address holds (sun_path in unix(7),
	// less its final zero byte).
	maxSocketPath = 107
)

// A directory is the folder of one server, private to its user. Whoever owns it holds a lock on a file in it,
// which the kernel drops with the process: so the next server finds what a test left that was killed (by
// Ctrl-C, for one), about 60 MB of etcd's log.
type directory struct {
	path string
	lock *os.File
}

// newDirectory makes a directory whose path is short enough for etcd's socket.
func newDirectory() (*directory, error) {
	parent := os.TempDir()
	if len(filepath.Join(parent, directoryPattern+"1234567890", etcdSocket)) > maxSocketPath {
		parent = "/tmp"
	}
	sweep(parent)
	path, err := os.MkdirTemp(parent, directoryPattern)
	if err != nil {
		return nil, fmt.Errorf("make a directory for the API server: %w", err)
	}
	lock, err := lockIn(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the API server's directory: %w", err), os.RemoveAll(path))
	}
	return &directory{path, lock}, nil
}

// lockIn puts a locked file into a directory. It gets its name only when it is locked: nobody finds one of a
// living owner unlocked.
func lockIn(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, "new-lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(path, "lock"))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// remove deletes the directory and all in it.
func (d *directory) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// sweep removes the directories whose owners are gone. What it cannot read or remove is not ours.
func sweep(parent string) {
	locks, _ := filepath.Glob(filepath.Join(parent, directoryPattern, "lock")) // the pattern is well-formed
	for _, name := range locks {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(name))
		}
		f.Close()
	}
}
