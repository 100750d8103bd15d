//go:build unix

package snapshot

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// checkOwner refuses a file that another user may have written: its sum says that it is whole, not
// who wrote it. A group may write if this process is in it and it is not root's: a volume with
// fsGroup has its files so.
func checkOwner(info fs.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	groups, _ := os.Getgroups() // none: no group may write
	mode := info.Mode().Perm()
	switch {
	case int(s.Uid) != os.Geteuid() && s.Uid != 0:
		return fmt.Errorf("its owner is user %d: want %d or root", s.Uid, os.Geteuid())
	case mode&0o002 != 0, mode&0o020 != 0 && (s.Gid == 0 || !slices.Contains(groups, int(s.Gid))):
		return fmt.Errorf("its mode is %v and its group %d: want a file that no other user can write", mode, s.Gid)
	}
	return nil
}
