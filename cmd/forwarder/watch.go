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

// configPoll is the period of the check of the file, in addition to events: some file systems send none.
const configPoll = time.Minute

// configAway is how long the file may be missing before that is reported: a new one may be about to replace
// it.
const configAway = 2 * time.Second

// watchConfig adopts changes of the configuration file. If a running process cannot adopt a
// change, it returns an error, as kube-proxy does for any change: the kubelet or systemd then
// restarts the process, without effect on traffic because the rules stay. A configuration
// that is invalid, or does not work on this node, changes nothing.
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
		// Watch the folder: editors and ConfigMaps replace the file.
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

// reconfigure adopts the current configuration file. It returns an error for a change that
// needs a restart.
func (f *forwarder) reconfigure() error {
	now := f.current.Load()
	path := now.Flags.ConfigFile
	later, err := now.Reload()
	if err != nil {
		f.report(err)
		return nil
	}
	if later.Wire.Mode == config.ModeAuto {
		later.Choose(now.Wire.Mode) // the chosen mode works
	}
	alive, restart := now.Difference(later)
	if len(restart) > 0 {
		if err := possible(now, later, f.log); err != nil {
			f.report(err)
			return nil
		}
		return fmt.Errorf("the configuration in %s changed in %s: want a restart to use it", path, strings.Join(restart, ", "))
	}
	f.report(nil)
	warnOf(slices.DeleteFunc(slices.Clone(later.Notes), func(n string) bool { return slices.Contains(now.Notes, n) }), f.log)
	f.current.Store(later)
	if len(alive) == 0 {
		return nil
	}
	f.log.Info("configuration changed", "file", path, "fields", strings.Join(alive, ", "))
	f.keep(later)
	prepareQuietly(later, f.log)
	f.agent.Reconfigure(options(later, planned(later, f.log), "", nil))
	return nil
}

// possible returns why a process with a later configuration could not start on this node.
func possible(now, later *config.Config, log *slog.Logger) error {
	if later.Wire.Mode != now.Wire.Mode {
		trial := *later
		if _, err := choose(modes(&trial, log, nil), &trial, log); err != nil {
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

// report reports in the log, a metric and an Event that the configuration is refused, once per reason, or,
// with nil, that it is used again.
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
		f.log.Info("the configuration is usable again", "file", path)
		f.nodeEvent(true, "ForwarderConfigAccepted", "the configuration of the forwarder is usable again")
		return
	}
	f.refusals.Set(1)
	f.log.Error("the configuration is not usable; the previous one stays active", "file", path, "err", why)
	f.nodeEvent(false, "ForwarderConfigRefused", "the forwarder keeps its previous configuration: "+why.Error())
}

func (f *forwarder) nodeEvent(normal bool, reason, message string) {
	if f.events != nil {
		f.events.NodeEvent(normal, reason, message)
	}
}
