package conntrack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A setting is a number of seconds that the kernel has under net.netfilter.
type setting struct {
	name string
	file *os.File // nil: the kernel has none yet
}

// open opens the setting, if the kernel tracks connections already: on a node that has just
// started it does when there are rules. Opened it is that of the network namespace of the
// calling thread, whoever reads it; who runs a Cleaner for a node has but one.
func (s *setting) open() {
	if f, err := os.Open(filepath.Join("/proc/sys/net/netfilter", s.name)); err == nil {
		s.file = f
	}
}

// seconds reads the setting; 0: it is not known.
func (s *setting) seconds() uint32 {
	if s.file == nil {
		s.open()
	}
	if s.file == nil {
		return 0
	}
	text := make([]byte, 16)
	n, _ := s.file.ReadAt(text, 0)
	seconds, _ := strconv.ParseUint(strings.TrimSpace(string(text[:n])), 10, 32) // 0 if it is none
	return uint32(seconds)
}

func (s *setting) close() {
	if s.file != nil {
		s.file.Close()
	}
}
