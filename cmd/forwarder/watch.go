package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/signpost-dns/signpost/internal/config"
)

// How often the file is looked at besides events: some file systems tell nothing.
const configPoll = time.Minute

// watchConfig takes over what changes in the configuration file. What a running process
// cannot take over is an error, as any change is with kube-proxy: whoever starts the
// process starts it again, which costs no traffic, for the rules stay meanwhile. A file
// that cannot be used changes nothing.
func (f *forwarder) watchConfig(ctx context.Context) error {
	path := f.config.Flags.ConfigFile
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
		if err != nil || bytes.Equal(before, now) { // one that is away will be back
			continue
		}
		before = now
		if err := f.reconfigure(); err != nil {
			return err
		}
	}
}

// reconfigure takes over the configuration as it is now.
func (f *forwarder) reconfigure() error {
	now := f.current.Load()
	path := now.Flags.ConfigFile
	later, err := now.Reload()
	if err != nil {
		f.log.Error("the configuration changed and cannot be used; the one before goes on", "file", path, "error", err)
		return nil
	}
	if later.Wire.Mode == config.ModeAuto {
		later.Choose(now.Wire.Mode) // what is chosen works
	}
	alive, restart := now.Difference(later)
	if len(restart) > 0 {
		return fmt.Errorf("the configuration in %s changed in %s: start again to use it", path, strings.Join(restart, ", "))
	}
	if len(alive) == 0 {
		return nil
	}
	f.log.Info("the configuration changed", "file", path, "fields", strings.Join(alive, ", "))
	f.current.Store(later)
	prepareQuietly(later, f.log)
	f.agent.Reconfigure(options(later, "", nil))
	return nil
}
