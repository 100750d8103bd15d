package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/node"
)

// How often the file is looked at besides events: some file systems tell nothing.
const configPoll = time.Minute

// configAway is how long the file may be away before that is reported: another one may be about to take its
// place.
const configAway = 2 * time.Second

// watchConfig takes over what changes in the configuration file. What a running process
// cannot take over is an error, as any change is with kube-proxy: whoever starts the
// process starts it again, which costs no traffic, for the rules stay meanwhile. A configuration that
// cannot be read, or cannot work on this node, changes nothing.
func (f *forwarder) watchConfig(ctx context.Context) error {
	path := f.config.Flags.ConfigFile
	if path == "" {
		return nil
	}
	before, err := os.ReadFile(path)
	if err != nil && f.refused == nil {
		return fmt.Errorf("watching the configuration: %w", err)
	}
	if f.report(f.refused); f.refused == nil {
		f.keep(f.current.Load())
	}
	var events chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		// The folder: editors and ConfigMaps put another file into its place.
		if w.Add(filepath.Dir(path)) == nil {
			events = w.Events
		}
	}
	if f.refused == nil { // the file may have changed since it was read
		if err := f.reconfigure(); err != nil {
			return err
		}
	}
	poll := time.NewTimer(configPoll)
	defer poll.Stop()
	for away := false; ; {
		late := false
		select {
		case <-ctx.Done():
			return nil
		case <-events:
		case <-poll.C:
			late = away
		}
		now, err := os.ReadFile(path)
		if away = err != nil; away && !late {
			poll.Reset(configAway)
			continue
		}
		poll.Reset(configPoll)
		if !away && before != nil && bytes.Equal(before, now) && f.refused == nil {
			continue
		}
		before = now
		if err := f.reconfigure(); err != nil {
			return err
		}
	}
}

// reconfigure takes over the configuration as it is now. The error is about a change for which the
// process must start again.
func (f *forwarder) reconfigure() error {
	now := f.current.Load()
	path := now.Flags.ConfigFile
	later, err := now.Reload()
	if err != nil {
		f.report(err)
		return nil
	}
	if later.Wire.Mode == config.ModeAuto {
		later.Choose(now.Wire.Mode) // what is chosen works
	}
	alive, restart := now.Difference(later)
	if len(restart) > 0 {
		if err := possible(now, later, f.log); err != nil {
			f.report(err)
			return nil
		}
		return fmt.Errorf("the configuration in %s changed in %s: start again to use it", path, strings.Join(restart, ", "))
	}
	f.report(nil)
	warnOf(slices.DeleteFunc(slices.Clone(later.Notes), func(n string) bool { return slices.Contains(now.Notes, n) }), f.log)
	f.current.Store(later)
	if len(alive) == 0 {
		return nil
	}
	f.log.Info("the configuration changed", "file", path, "fields", strings.Join(alive, ", "))
	f.keep(later)
	prepareQuietly(later, f.log)
	f.agent.Reconfigure(options(later, "", nil))
	return nil
}

// possible says why a process with a later configuration could not start on this node.
func possible(now, later *config.Config, log *slog.Logger) error {
	if later.Wire.Mode != now.Wire.Mode {
		trial := *later
		if _, err := choose(&trial, log); err != nil {
			return err
		}
	}
	if later.Flags.Manifests == "" {
		if _, err := connection(later); err != nil {
			return err
		}
	}
	if _, err := node.Name(later.HostnameOverride); err != nil {
		return err
	}
	return nil
}

// report tells in the log, a metric and an Event that the configuration is refused, once for each reason, or
// with nil that it is used again.
func (f *forwarder) report(why error) {
	before := f.told
	f.refused, f.told = why, ""
	if why != nil {
		f.told = why.Error()
	}
	if f.told == before {
		return
	}
	path := f.config.Flags.ConfigFile
	if why == nil {
		f.refusals.Set(0)
		f.log.Info("the configuration can be used again", "file", path)
		f.nodeEvent(true, "ForwarderConfigAccepted", "the configuration of the forwarder can be used again")
		return
	}
	f.refusals.Set(1)
	f.log.Error("the configuration cannot be used; the one before goes on", "file", path, "error", why)
	f.nodeEvent(false, "ForwarderConfigRefused", "the forwarder goes on with the configuration before: "+why.Error())
}

func (f *forwarder) nodeEvent(normal bool, reason, message string) {
	if f.events != nil {
		f.events.NodeEvent(normal, reason, message)
	}
}
