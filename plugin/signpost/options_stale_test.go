package signpost

import (
	"path/filepath"
	"time"
)

var staleOptionTests = []optionTest{
	{"snapshot", "snapshot /var/lib/signpost", func(s *stanza) { s.snapshot = snapshotConfig{"/var/lib/signpost", 24 * time.Hour} }, ""},
	{"snapshot relative", "snapshot x", func(s *stanza) { s.snapshot = snapshotConfig{filepath.Join(here(), "x"), 24 * time.Hour} }, ""},
	{"snapshot age", "snapshot /x 90m", func(s *stanza) { s.snapshot = snapshotConfig{"/x", 90 * time.Minute} }, ""},
	{"snapshot age no unit", "snapshot /x 5", nil, "option snapshot /x 5: want a duration with its unit"},
	{"snapshot age negative", "snapshot /x -5h", nil, "option snapshot /x -5h: want a duration"},
	{"snapshot none", "snapshot", nil, "option snapshot: want DIR [MAX_AGE]"},
	{"snapshot a file", "snapshot options.go", nil, "option snapshot options.go: want a folder"},
	{"snapshot of manifests", "manifests .\nsnapshot /x", nil, "option snapshot /x: a folder of manifests is on a disk already"},

	{"stale ready", "snapshot /x\nstale ready", func(s *stanza) { s.snapshot = snapshotConfig{"/x", 24 * time.Hour} }, ""},
	{"stale unready", "snapshot /x\nstale unready", func(s *stanza) {
		s.snapshot = snapshotConfig{"/x", 24 * time.Hour}
		s.staleUnready = true
	}, ""},
	{"stale age", "stale ready 10m", func(s *stanza) { s.staleAfter = 10 * time.Minute }, ""},
	{"stale age shorter than bookmarks", "stale ready 1m", nil, "option stale ready 1m: want a duration with its unit, such as 1h, not below 2m0s"},
	{"stale maybe", "stale maybe", nil, "option stale maybe: want ready or unready"},
	{"stale none", "stale", nil, "option stale: want ready|unready [MAX_AGE]"},
	{"stale manifests", "manifests .\nstale ready 10m", nil, "option stale ready 10m: a folder of manifests is never stale"},
}
