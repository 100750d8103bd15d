package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// down ends the cluster and removes everything of it but its logs.
func down(_ context.Context, e *env, args []string) error {
	if len(args) > 0 {
		return errUsage
	}
	p, err := placeOf(e)
	if err != nil {
		return err
	}
	if _, err := os.Stat(string(p)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := p.clean(); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "the cluster is gone; its logs are in %s\n", p.file("log"))
	return nil
}

// clean kills what runs of the place's cluster and removes what it left: also after a crash, of everything or
// of a part. The logs of the last cluster stay until the next one starts.
func (p place) clean() error {
	s, err := p.readState()
	if err != nil {
		return err
	}
	if s.alive() {
		if err := syscall.Kill(s.Pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("end the supervisor, process %d: %w", s.Pid, err)
		}
		// The kernel first ends all other processes of its pid namespace.
		for deadline := time.Now().Add(30 * time.Second); s.alive(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("the supervisor, process %d, was killed and does not end", s.Pid)
			}
		}
	}
	for _, folder := range s.Cgroups {
		if err := emptyCgroup(folder); err != nil {
			return err
		}
	}
	return p.removeFiles()
}

// kept are the files of a place that outlive a cluster.
var kept = map[string]bool{"lock": true, "log": true}

func (p place) removeFiles() error {
	entries, err := os.ReadDir(string(p))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if kept[entry.Name()] {
			continue
		}
		if err := os.RemoveAll(p.file(entry.Name())); err != nil {
			return fmt.Errorf("remove what is left of the cluster: %w", err)
		}
	}
	return nil
}
