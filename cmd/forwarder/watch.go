package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How often the file is looked at besides events: some file systems tell nothing.
const configPoll = time.Minute

// watchConfig returns an error when the content of the configuration file changes, as
// kube-proxy does: whoever starts the process starts it again, with what the file
// says then. It costs no traffic, for the rules stay meanwhile.
func watchConfig(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("watching the configuration: %w", err)
	}
	var events chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		// The folder: editors and ConfigMaps put another file into its place.
		if w.Add(filepath.Dir(path)) == nil {
			events = w.Events
		}
	}
	poll := time.NewTicker(configPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
		case <-poll.C:
		}
		now, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(before, now) { // one that is away will be back
			return fmt.Errorf("the configuration in %s changed: start again to use it", path)
		}
	}
}
