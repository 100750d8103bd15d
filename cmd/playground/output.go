//go:build linux

package main

import (
	"strings"
	"sync"
)

// output keeps what a process writes, while others read it.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// tail is the last lines.
func (o *output) tail(lines int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := strings.Split(strings.TrimSpace(o.text.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
