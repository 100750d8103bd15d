package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// hello is a program small enough to compile in a test.
var hello = program{name: "hello", pkg: "./testdata/hello", version: "hello v1"}

// syncBuffer is a bytes.Buffer that a child's copier and the test may use at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newEnv(t *testing.T) (e *env, stdout, stderr *syncBuffer) {
	stdout, stderr = new(syncBuffer), new(syncBuffer)
	return &env{stdout: stdout, stderr: stderr, cache: t.TempDir()}, stdout, stderr
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		usage  bool   // wants errUsage
		err    string // wants an error that contains this
		stderr string
	}{
		{name: "nothing", usage: true, stderr: "usage: "},
		{name: "unknown", args: []string{"nonsense"}, usage: true, stderr: `unknown command "nonsense"`},
		{name: "too many", args: []string{"where", "api", "now"}, usage: true, stderr: "usage: "},
		{name: "unknown flag", args: []string{"-x"}, usage: true, stderr: "not defined: -x"},
		{name: "help", args: []string{"-h"}, stderr: "usage: "},
		{name: "where, empty cache", args: []string{"where"}, err: "no etcd in "},
		{name: "where says what to do", args: []string{"where"}, err: "run " + buildCommand},
		{name: "where, of a group", args: []string{"where", "e2e"}, err: "run " + buildCommand + " e2e"},
		{name: "unknown group", args: []string{"build", "now"}, err: `no group of programs "now", expected one of api, cluster, e2e`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, stdout, stderr := newEnv(t)
			err := run(t.Context(), e, tt.args)
			if errors.Is(err, errUsage) != tt.usage {
				t.Errorf("usage error: got %v", err)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error: got %v, want %q in it", err, tt.err)
			}
			if tt.err == "" && !tt.usage && err != nil {
				t.Errorf("error: got %v", err)
			}
			if !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stderr: got %q, want %q in it", stderr, tt.stderr)
			}
			if stdout.String() != "" {
				t.Errorf("stdout: got %q, want nothing", stdout)
			}
		})
	}
}

func TestUsageNamesEveryCommand(t *testing.T) {
	var b bytes.Buffer
	usage(&b)
	for _, c := range commands() {
		if !strings.Contains(b.String(), "  "+c.name+" ") || !strings.Contains(b.String(), c.short) {
			t.Errorf("usage does not name %s: %s", c.name, &b)
		}
	}
}

func TestWhereWantsEveryProgram(t *testing.T) {
	e, stdout, _ := newEnv(t)
	dir := directory(e.cache)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	want, err := programs("e2e")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		err := run(t.Context(), e, []string{"where", "e2e"})
		if err == nil || !strings.Contains(err.Error(), "no "+p.name+" in "+dir) {
			t.Errorf("without %s: got error %v", p.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context(), e, []string{"where", "e2e"}); err != nil {
		t.Fatal(err)
	}
	if got := stdout.String(); got != dir+"\n" {
		t.Errorf("stdout: got %q, want %q", got, dir+"\n")
	}
}

func TestInstall(t *testing.T) {
	e, _, stderr := newEnv(t)
	dir := filepath.Join(e.cache, "programs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The rest of a build that was killed.
	if err := os.WriteFile(filepath.Join(dir, "other"+temporary), []byte("half"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), e, dir, []program{hello}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(files(t, dir), " "), ".lock hello"; got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
	if !strings.Contains(stderr.String(), "[1/1] hello") || !strings.Contains(stderr.String(), "done") {
		t.Errorf("no progress on stderr: %q", stderr)
	}
	before, err := os.Stat(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), e, dir, []program{hello}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(dir, "hello")); err != nil || !os.SameFile(before, after) {
		t.Errorf("the second install replaced the program (%v)", err)
	}
}

// TestInstallTests does the same with a program that is the tests of a package.
func TestInstallTests(t *testing.T) {
	e, _, stderr := newEnv(t)
	dir := filepath.Join(e.cache, "programs")
	tested := program{name: "tested.test", pkg: "./testdata/tested", version: "tested v1", test: true}
	if err := install(t.Context(), e, dir, []program{tested}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(files(t, dir), " "), ".lock tested.test"; got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
	if !strings.Contains(stderr.String(), "done") {
		t.Errorf("no progress on stderr: %q", stderr)
	}
}

func TestInstallFails(t *testing.T) {
	wrong := hello
	wrong.version = "hello v2"
	tests := []struct {
		name    string
		program program
		err     string
	}{
		{"does not compile", program{name: "broken", pkg: "./testdata/broken"}, "undefined: undefinedName"},
		{"no such package", program{name: "absent", pkg: "./testdata/absent"}, "testdata/absent"},
		{"another version", wrong, `want "hello v2" in its output, got "hello v1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, _ := newEnv(t)
			dir := filepath.Join(e.cache, "programs")
			err := install(t.Context(), e, dir, []program{tt.program})
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error: got %v, want %q in it", err, tt.err)
			}
			if got := strings.Join(files(t, dir), " "); got != ".lock" {
				t.Errorf("files: got %s, want only the lock", got)
			}
		})
	}
}

// TestInstallConcurrently runs several builds of one directory: one compiles, the rest wait for it.
func TestInstallConcurrently(t *testing.T) {
	e, _, stderr := newEnv(t)
	dir := filepath.Join(e.cache, "programs")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := install(t.Context(), e, dir, []program{hello}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := strings.Count(stderr.String(), "to compile into"); n != 1 {
		t.Errorf("%d builds compiled, want 1: %s", n, stderr)
	}
	if got, want := strings.Join(files(t, dir), " "), ".lock hello"; got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
}

func TestLockGivesUpWithItsContext(t *testing.T) {
	e, _, stderr := newEnv(t)
	name := filepath.Join(e.cache, "lock")
	unlock, err := lock(t.Context(), e, name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, e, name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: got %v, want the context's error", err)
	}
	if !strings.Contains(stderr.String(), "another build is running") {
		t.Errorf("nobody is told of the wait: %q", stderr)
	}
	unlock()
	again, err := lock(t.Context(), e, name)
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	again()
}

// TestDirectory checks what makes a directory: sources, flags and platform, below the cache it was given.
func TestDirectory(t *testing.T) {
	sum := goSum
	defer func() { goSum = sum }()
	first := directory("/cache")
	if !strings.HasPrefix(first, "/cache/signpost/k8s-"+kubernetesVersion+"-") {
		t.Errorf("directory: got %s", first)
	}
	if again := directory("/cache"); again != first {
		t.Errorf("directory changes by itself: %s, then %s", first, again)
	}
	goSum = append(bytes.Clone(sum), "another module\n"...)
	if other := directory("/cache"); other == first {
		t.Errorf("directory is %s for other sources too", other)
	}
}

// TestRecipeMatchesModule keeps the versions that the recipe names equal to those of go.mod.
func TestRecipeMatchesModule(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	all, err := programs("e2e")
	if err != nil {
		t.Fatal(err)
	}
	staging := strings.Replace(kubernetesVersion, "v1.", " => k8s.io/api v0.", 1)
	for _, want := range []string{
		"\tk8s.io/kubernetes " + kubernetesVersion + "\n",
		"\tk8s.io/api" + staging + "\n",
		"\tgo.etcd.io/etcd/server/v3 v" + versionOf(all, "etcd", "etcd Version: ") + "\n",
		"\tgithub.com/onsi/ginkgo/v2 v" + versionOf(all, "ginkgo", "Ginkgo Version ") + "\n",
	} {
		if !bytes.Contains(mod, []byte(want)) {
			t.Errorf("go.mod does not hold %q", want)
		}
	}
	tools, err := os.ReadFile("tools.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if !bytes.Contains(tools, []byte(`_ "`+p.pkg+`"`)) {
			t.Errorf("tools.go does not import %s: `go mod tidy` would drop it", p.pkg)
		}
	}
}

func versionOf(all []program, name, before string) string {
	for _, p := range all {
		if p.name == name {
			return strings.TrimPrefix(p.version, before)
		}
	}
	return "of no program"
}

// TestGroups checks that a group comes with those before it, and that the first stays small.
func TestGroups(t *testing.T) {
	names := func(upTo string) string {
		all, err := programs(upTo)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range all {
			names = append(names, p.name)
		}
		return strings.Join(names, " ")
	}
	if got, want := names("api"), "etcd kube-apiserver kubectl"; got != want {
		t.Errorf("api: got %s, want %s", got, want)
	}
	before := ""
	for _, g := range groups() {
		got := names(g.name)
		if !strings.HasPrefix(got, before) || len(got) == len(before) {
			t.Errorf("%s: got %s, want it to begin with %s and to go on", g.name, got, before)
		}
		before = got
	}
}

func TestProgress(t *testing.T) {
	out := new(syncBuffer)
	p := newProgress(out, "[1/1] x")
	for _, piece := range []string{"go: downloading a v1\nexample.org/", "a\nexample.org/b\n# example.org/c\nc.go:1: ", "broken"} {
		if _, err := p.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.line(); !strings.Contains(got, "   2 packages  # example.org/c") {
		t.Errorf("line: got %q", got)
	}
	p.finish(false)
	if got := out.String(); !strings.HasSuffix(got, "2 packages  stopped\n") {
		t.Errorf("closing line: got %q", got)
	}
	for _, want := range []string{"go: downloading a v1\n", "# example.org/c", "c.go:1: broken"} {
		if !strings.Contains(p.tail(), want) {
			t.Errorf("tail: got %q, want %q in it", p.tail(), want)
		}
	}
	for range 2 * tailLines {
		p.add("more")
	}
	if n := len(p.lines); n != tailLines {
		t.Errorf("keeps %d lines, want %d", n, tailLines)
	}
}

// TestNoGoroutineLeft checks that a reporter ends with finish.
func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 100 {
		newProgress(new(syncBuffer), "x").finish(true)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}
