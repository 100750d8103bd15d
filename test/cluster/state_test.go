package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestPlace(t *testing.T) {
	e, _, _ := newEnv(t)
	for _, c := range []struct {
		dir, want, err string
	}{
		{"", e.cache + "/signpost/cluster", ""},
		{"/srv/two", "/srv/two", ""},
		{"two", "", "want an absolute path"},
		{"/var/lib/x", "", "is below /var/lib"},
		{"/run", "", "is below /run"},
		{"/srv/" + strings.Repeat("x", 100), "", "too long"},
	} {
		t.Setenv(directoryVariable, c.dir)
		if len(e.cache) > 60 {
			e.cache = "/short"
			c.want = strings.Replace(c.want, e.cache, "/short", 1)
		}
		p, err := placeOf(e)
		if c.err == "" && (err != nil || (c.dir != "" && string(p) != c.want)) {
			t.Errorf("%q: got %q, %v, want %q", c.dir, p, err, c.want)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: error %v, want %q in it", c.dir, err, c.err)
		}
	}
}

func TestState(t *testing.T) {
	p := place(t.TempDir())
	if s, err := p.readState(); err != nil || s.alive() || len(s.Cgroups) > 0 {
		t.Errorf("nothing there: %+v, %v", s, err)
	}
	if _, err := p.running(); err == nil || !strings.Contains(err.Error(), upCommand) {
		t.Errorf("error %v, want %q in it", err, upCommand)
	}
	started, running := processStart(os.Getpid())
	if !running || started == 0 {
		t.Fatalf("this process: started at %d, runs %v", started, running)
	}
	want := state{Cgroups: []string{"/a", "/b"}, Pid: os.Getpid(), Started: started, Nodes: nodeNames}
	if err := p.writeState(want); err != nil {
		t.Fatal(err)
	}
	got, err := p.running()
	if err != nil || got.Pid != want.Pid || len(got.Cgroups) != 2 {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	// The number is in use again, by another process.
	want.Started++
	if want.alive() {
		t.Error("a process that started later is taken for the supervisor")
	}
	if err := os.WriteFile(p.file("state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.readState(); err == nil || !strings.Contains(err.Error(), string(p)) {
		t.Errorf("a file that was cut off: error %v", err)
	}
}

// A process that has ended and was not waited for does not run.
func TestProcessStartOfAZombie(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, running := processStart(cmd.Process.Pid); !running {
		t.Error("it does not run, and it just started")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, running := processStart(cmd.Process.Pid); !running {
			_ = cmd.Wait()
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("it runs, and it was killed")
}

func TestClaim(t *testing.T) {
	p := place(t.TempDir())
	first, err := p.claim()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.claim(); !errors.Is(err, errRuns) {
		t.Errorf("the second claim: %v, want errRuns", err)
	}
	first.Close()
	again, err := p.claim()
	if err != nil {
		t.Fatalf("after the first is closed: %v", err)
	}
	again.Close()
}

func TestRemoveFilesKeepsTheLogs(t *testing.T) {
	p := place(t.TempDir())
	for _, name := range []string{"log", "n1", "pki"} {
		if err := os.MkdirAll(p.file(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.removeFiles(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(files(t, string(p)), " "); got != "log" {
		t.Errorf("left: %s, want log", got)
	}
}
