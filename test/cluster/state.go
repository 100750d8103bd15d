package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// directoryVariable names the environment variable that gives a cluster another directory, and so lets a
// second one run beside the first.
const directoryVariable = "SIGNPOST_CLUSTER"

// place is the directory of one cluster. At most one cluster runs in it: the supervisor holds a lock on a
// file there as long as it lives.
type place string

// placeOf returns the cluster's directory: what e says, or the environment, or the usual one in the user's cache.
func placeOf(e *env) (place, error) {
	dir := e.place
	if dir == "" {
		dir = os.Getenv(directoryVariable)
	}
	if dir == "" {
		dir = filepath.Join(e.cache, "signpost", "cluster")
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%s=%s: want an absolute path", directoryVariable, dir)
	}
	// A node has these folders for itself, and would not see its own files below them.
	for _, covered := range []string{"/run", "/var/run", "/var/lib", "/var/log", "/proc", "/sys"} {
		if dir == covered || strings.HasPrefix(dir, covered+"/") {
			return "", fmt.Errorf("the cluster's directory %s is below %s, of which each node has its own: set %s to another one", dir, covered, directoryVariable)
		}
	}
	// A socket's path has at most 107 characters (unix(7)).
	if p := place(dir); len(p.file("control.sock")) > 100 {
		return "", fmt.Errorf("the cluster's directory %s is too long for the paths of sockets: set %s to a shorter one", dir, directoryVariable)
	}
	return place(dir), nil
}

func (p place) file(names ...string) string {
	return filepath.Join(append([]string{string(p)}, names...)...)
}

func (p place) log(name string) string { return p.file("log", name+".log") }

// state is what is known of a cluster that was started, written before anything that it names is made: the
// next `down` or `up` finds all of it, even if this one is killed in the middle.
type state struct {
	Cgroups []string `json:"cgroups"` // folders of ours, one for each hierarchy
	Pid     int      `json:"pid"`     // of the supervisor, 0 before it started
	Started uint64   `json:"started"` // its start time in /proc/PID/stat: numbers are used again
	Nodes   []string `json:"nodes"`   // their names
}

func (p place) readState() (state, error) {
	var s state
	b, err := os.ReadFile(p.file("state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what is known of the cluster in %s: %w", p, err)
	}
	return s, nil
}

// writeState replaces the file in one step.
func (p place) writeState(s state) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(p.file("state.json.new"), b, 0o600)
	}
	if err == nil {
		err = os.Rename(p.file("state.json.new"), p.file("state.json"))
	}
	if err != nil {
		return fmt.Errorf("write what is known of the cluster: %w", err)
	}
	return nil
}

// alive reports whether the supervisor that the state names runs.
func (s state) alive() bool {
	if s.Pid == 0 {
		return false
	}
	started, running := processStart(s.Pid)
	return running && started == s.Started
}

// processStart returns when a process started, in clock ticks since the machine did (proc_pid_stat(5), field
// 22), and whether it runs at all: a zombie does not.
func processStart(pid int) (started uint64, running bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in brackets, may hold anything.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	return started, err == nil
}

// errRuns says that the lock of a place is held.
var errRuns = errors.New("runs already")

// claim takes the lock of the place. It is held until every copy of the file is closed: the supervisor gets
// one, and the kernel closes it however that ends.
func (p place) claim() (*os.File, error) {
	if err := os.MkdirAll(p.file("log"), 0o755); err != nil {
		return nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	f, err := os.OpenFile(p.file("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim the cluster's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errRuns
		}
		return nil, fmt.Errorf("claim the cluster's directory %s: %w", p, err)
	}
	return f, nil
}

// running returns the state of the cluster that runs, or an error that says what to do.
func (p place) running() (state, error) {
	s, err := p.readState()
	if err == nil && !s.alive() {
		err = fmt.Errorf("no cluster runs in %s: start one with `%s`", p, upCommand)
	}
	if err == nil {
		if !slices.Equal(nodeNames, s.Nodes) { // never while others read it: a process has one kind of cluster
			nodeNames = s.Nodes
		}
	}
	return s, err
}

const (
	upCommand   = "go -C test/cluster run . up"
	downCommand = "go -C test/cluster run . down"
)
