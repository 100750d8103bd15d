//go:build linux

package netlab

import (
	"fmt"
	"strings"
	"syscall"
)

// parseIDMap reads a uid_map or gid_map (lines of: inside, outside, count) and returns the identity over the inside
// numbers, which is what a child namespace may map without losing anybody. The kernel takes at most 340 lines.
func parseIDMap(text string) ([]syscall.SysProcIDMap, error) {
	var maps []syscall.SysProcIDMap
	for line := range strings.Lines(text) {
		var in, out, count int
		if n, err := fmt.Sscan(line, &in, &out, &count); n != 3 || count <= 0 {
			return nil, fmt.Errorf("start sandbox: read id map line %q: expected three numbers: %w", strings.TrimSpace(line), err)
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: in, HostID: in, Size: count})
	}
	if len(maps) == 0 {
		return nil, fmt.Errorf("start sandbox: the id map of this process is empty, expected at least one line")
	}
	return maps, nil
}
