package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A life is a cluster of a test's own, without DNS and forwarder, beside whatever else runs.
func newLife(t *testing.T) *env {
	t.Helper()
	needCluster(t)
	// Not t.TempDir: the paths of sockets are short.
	dir, err := os.MkdirTemp("/tmp", "life")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return &env{stdout: io.Discard, stderr: io.Discard, cache: cache, place: dir}
}

// hostPids lists the processes of the cluster by their numbers outside: all that are in the supervisor's pid
// namespace or in one below it, which is told by their cgroups or by their ancestors.
func hostPids(t *testing.T, supervisor int) []int {
	t.Helper()
	parents := map[int]int{}
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
	}
	var all []int
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == supervisor {
				all = append(all, pid)
				break
			}
		}
	}
	return all
}

// gone fails the test unless nothing is left of a cluster.
func gone(t *testing.T, s state, pids []int) {
	t.Helper()
	for _, path := range s.Cgroups {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the cgroup %s is still there", path)
		}
	}
	for _, pid := range pids {
		if _, running := processStart(pid); running {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d still runs: %q", pid, line)
		}
	}
}

// awaitEnd waits until the supervisor of a cluster has ended, for 20 seconds at most.
func awaitEnd(s state) {
	for deadline := time.Now().Add(20 * time.Second); s.alive() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
}

func TestLife(t *testing.T) {
	t.Parallel() // with the plays: it has clusters of its own, and both wait more than they compute
	e := newLife(t)
	before := machine()
	p, err := placeOf(e)
	if err != nil {
		t.Fatal(err)
	}
	begin := func() (*cluster, state, []int) {
		t.Helper()
		c, err := startCluster(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.waitForNodes(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := p.running()
		if err != nil {
			t.Fatal(err)
		}
		return c, s, hostPids(t, s.Pid)
	}
	end := func(s state, pids []int) {
		t.Helper()
		if err := down(t.Context(), e, nil); err != nil {
			t.Fatal(err)
		}
		gone(t, s, pids)
		if diff := changed(before, machine()); diff != "" {
			t.Errorf("the machine is not as it was:\n%s", diff)
		}
		if got := strings.Join(files(t, string(p)), " "); got != "lock log" {
			t.Errorf("files left in its directory: %s, want lock log", got)
		}
	}

	t.Run("one at a time, and its supervisor is killed", func(t *testing.T) {
		_, s, pids := begin()
		if len(pids) < 8 {
			t.Errorf("%d processes found: this test looks in the wrong place", len(pids))
		}
		if _, err := startCluster(t.Context(), e); err == nil || !strings.Contains(err.Error(), "runs already") || !strings.Contains(err.Error(), downCommand) {
			t.Errorf("a second cluster: error %v", err)
		}
		if err := syscall.Kill(s.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitEnd(s)
		for _, pid := range pids { // the kernel ends them all
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				if _, running := processStart(pid); !running {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("process %d outlives the supervisor", pid)
				}
			}
		}
		end(s, pids)
	})
	t.Run("all are killed, in a random order, and up comes next", func(t *testing.T) {
		_, s, pids := begin()
		rand.Shuffle(len(pids), func(i, j int) { pids[i], pids[j] = pids[j], pids[i] })
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // many die with others
			time.Sleep(20 * time.Millisecond)
		}
		awaitEnd(s) // on a busy machine the kernel takes a while for a whole PID namespace
		first := s
		_, s, again := begin() // it removes what the first has left
		gone(t, first, pids)
		end(s, again)
	})
	t.Run("a node loses power", func(t *testing.T) {
		c, s, pids := begin()
		for _, verb := range []func(context.Context, *env, []string) error{stop, start} {
			if err := verb(t.Context(), e, []string{"n2"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.waitForNodes(t.Context()); err != nil {
			t.Error(err)
		}
		if err := stop(t.Context(), e, []string{"n3"}); err == nil || !strings.Contains(err.Error(), `"n3"`) {
			t.Errorf("stop of what is not there: error %v", err)
		}
		end(s, append(pids, hostPids(t, s.Pid)...))
	})
	t.Run("up is killed halfway", func(t *testing.T) { testUpKilled(t, e, end) })
}

// testUpKilled kills the command itself, at several moments, as Ctrl-C twice or a closed terminal would.
func testUpKilled(t *testing.T, e *env, end func(state, []int)) {
	p, err := placeOf(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 2 * time.Second} {
		cmd := exec.Command(os.Args[0], "up")
		cmd.Env = append(os.Environ(), asCommand+"=1", directoryVariable+"="+e.place)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var s state
		for deadline := time.Now().Add(time.Minute); s.Pid == 0 && time.Now().Before(deadline); {
			if s, err = p.readState(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(after)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		pids := hostPids(t, s.Pid)
		if s.Pid == 0 {
			t.Fatal("it started no supervisor within a minute")
		}
		end(s, pids)
	}
}
