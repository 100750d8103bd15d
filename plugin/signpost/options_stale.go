package signpost

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// staleOptions say what happens while the API is away.
var staleOptions = []option{
	{"snapshot", "DIR [MAX_AGE]", 1, 2, setSnapshot, checkSnapshot},
	{"stale", "ready|unready [MAX_AGE]", 1, 2, setStale, checkStale},
}

const (
	// defaultMaxAge is how old an index may be to be answered from after a
	// restart: ClusterIPs last, addresses of pods do not.
	defaultMaxAge = 24 * time.Hour
	// shortestStale is more than the time between two bookmarks of a quiet API.
	shortestStale = 2 * time.Minute
)

// setSnapshot does not ask that the folder be there or can be written: a disk in
// trouble is no reason not to answer.
func setSnapshot(s *stanza, args []string) error {
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return errors.New("want a folder on a local disk; this is a file")
	}
	s.snapshot = snapshotConfig{dir: dir, maxAge: defaultMaxAge}
	if len(args) == 2 {
		s.snapshot.maxAge, err = duration(args[1], time.Second)
	}
	return err
}

func checkSnapshot(s *stanza) error {
	if s.feed.manifests != "" {
		return errors.New("a folder of manifests is on a disk already; want it without manifests")
	}
	return nil
}

func setStale(s *stanza, args []string) error {
	switch args[0] {
	case "ready", "unready":
		s.staleUnready = args[0] == "unready"
	default:
		return errors.New("want ready or unready")
	}
	if s.staleAfter = 0; len(args) == 2 {
		d, err := duration(args[1], shortestStale)
		if err != nil {
			return err
		}
		s.staleAfter = d
	}
	return nil
}

func checkStale(s *stanza) error {
	if s.feed.manifests != "" {
		return errors.New("a folder of manifests is never stale; want it without manifests")
	}
	if s.snapshot.dir == "" && s.staleAfter == 0 {
		log.Warning("option stale has no effect without snapshot or MAX_AGE: an index that was never synced is not ready")
	}
	return nil
}

// duration reads a duration with its unit that is not below the shortest.
func duration(text string, shortest time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < shortest {
		return 0, fmt.Errorf("want a duration with its unit, such as 1h, not below %v", shortest)
	}
	return d, nil
}
