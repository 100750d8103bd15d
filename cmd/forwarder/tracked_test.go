package main

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/node"
)

// TestWatchTracked: each time that the table fills, and each time that it empties, there is one line.
func TestWatchTracked(t *testing.T) {
	const limit = 1000
	steps := []struct {
		name        string
		connections int // -1: nothing is tracked yet
		want        string
	}{
		{"nothing is tracked", -1, ""},
		{"a few", 10, ""},
		{"many", 900, ""},
		{"too many", 901, "nearly full"},
		{"full", limit, ""},
		{"as many as before", 900, ""},
		{"still many", 801, ""},
		{"for a moment it cannot be read", -1, ""},
		{"less", 800, "room again"},
		{"as many once more", 850, ""},
		{"too many once more", 950, "nearly full"},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer // only the goroutine of this test writes and reads it
	n := 0
	watchTracked(ctx, time.Millisecond, func() (node.Tracked, error) {
		if n > 0 {
			before := steps[n-1]
			if got := out.String(); strings.Count(got, "\n") > 1 || before.want == "" && got != "" || !strings.Contains(got, before.want) {
				t.Errorf("%s: %q, want %q", before.name, got, before.want)
			}
			out.Reset()
		}
		if n == len(steps) {
			cancel()
			return node.Tracked{}, fs.ErrNotExist
		}
		s := steps[n]
		n++
		if s.connections < 0 {
			return node.Tracked{}, fs.ErrNotExist
		}
		return node.Tracked{Connections: s.connections, Limit: limit}, nil
	}, slog.New(slog.NewTextHandler(&out, nil)))
	if n != len(steps) {
		t.Errorf("%d looks, want %d", n, len(steps))
	}
}
