package netlab

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// syncBuffer collects the output of a program while a test waits for a word in it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// waitFor returns when the word has been written, or after 30 seconds.
func (b *syncBuffer) waitFor(word string) bool {
	for range 3000 {
		if strings.Contains(b.String(), word) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
