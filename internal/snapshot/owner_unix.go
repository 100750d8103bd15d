//go:build unix

package snapshot

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// checkOwner refuses a file that a different user may have written: the sum proves that the
// file is complete, not its origin. A group may have write access if this process is in it
// and it is not root's group: the files of a volume with fsGroup are like that.
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
