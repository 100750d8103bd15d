package conntrack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A setting is a timeout in seconds below net.netfilter.
type setting struct {
	name string
	file *os.File // nil: not available yet
}

// open opens the file of the setting. It exists only while the kernel tracks connections; on
// a node that just started, that begins with the first rules. The open file belongs to the network
// namespace of the thread that called open, whichever thread reads it.
func (s *setting) open() {
	if f, err := os.Open(filepath.Join("/proc/sys/net/netfilter", s.name)); err == nil {
		s.file = f
	}
}

// seconds returns the value of the setting, or 0 if it is unknown.
func (s *setting) seconds() uint32 {
	if s.file == nil {
		s.open()
	}
	if s.file == nil {
		return 0
	}
	text := make([]byte, 16)
	n, _ := s.file.ReadAt(text, 0)
	seconds, _ := strconv.ParseUint(strings.TrimSpace(string(text[:n])), 10, 32) // 0 if the text is no number
	return uint32(seconds)
}

func (s *setting) close() {
	if s.file != nil {
		s.file.Close()
	}
}
