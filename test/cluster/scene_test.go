package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// asCommand makes the test binary behave as the command itself, for tests that need it as a process.
const asCommand = "SIGNPOST_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	runHidden(os.Args) // supervisor and nodes are this program again
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	// The plays wait more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "7"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := shared.end(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	os.Exit(code)
}

// shared is the cluster of all end-to-end tests: the one that runs already, or one of our own, started for the
// first test that asks and ended after the last.
var shared sharedCluster

type sharedCluster struct {
	once   sync.Once
	c      *cluster
	err    error
	mine   bool
	before map[string]string // the machine
}

func (s *sharedCluster) start() {
	cache, err := os.UserCacheDir()
	if err != nil {
		s.err = err
		return
	}
	e := &env{stdout: os.Stdout, stderr: os.Stderr, cache: cache}
	p, err := placeOf(e)
	if err != nil {
		s.err = err
		return
	}
	if _, err := p.running(); err == nil {
		fmt.Fprintf(os.Stderr, "the end-to-end tests use the cluster that runs in %s\n", p)
		s.c = &cluster{e: e, place: p, bin: directory(cache), begun: time.Now()}
		return
	}
	s.mine, s.before = true, machine()
	if s.c, s.err = startCluster(context.Background(), e); s.err == nil {
		s.err = s.c.applyProduct(context.Background())
	}
}

func (s *sharedCluster) end() error {
	if !s.mine {
		return nil
	}
	var err error
	if s.c != nil {
		err = s.c.place.clean()
	}
	if diff := changed(s.before, machine()); diff != "" {
		err = errors.Join(err, fmt.Errorf("the cluster is gone and the machine is not as it was:\n%s", diff))
	}
	return err
}

// needCluster skips a test where there can be no cluster, with the reason. In CI that is a failure.
func needCluster(t *testing.T) {
	t.Helper()
	skip := t.Skip
	if os.Getenv("CI") == "true" {
		skip = t.Fatal
	} else if testing.Short() {
		t.Skip("-short")
	}
	if os.Geteuid() != 0 {
		skip(errNotRoot)
	}
	if _, err := checkMachine(); err != nil {
		skip(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	want, err := programs("cluster")
	if err != nil {
		t.Fatal(err)
	}
	if absent := missing(directory(cache), want); len(absent) > 0 && os.Getenv("CI") != "true" {
		t.Skipf("no %s yet: run `%s cluster`, it takes minutes", absent[0].name, buildCommand)
	}
}

// scene is one test in the shared cluster, with a Kubernetes namespace of its own.
type scene struct {
	t  *recorder
	c  *cluster
	ns string
}

func newScene(t *recorder) *scene {
	s := &scene{t: t, c: shared.c, ns: "e2e-" + strings.ToLower(randomName())}
	s.must("create", "namespace", s.ns)
	t.cleanup(func() { s.must("delete", "namespace", s.ns, "--wait=false") })
	return s
}

// try runs kubectl in the scene's namespace.
func (s *scene) try(args ...string) (string, error) {
	return s.c.kubectl(context.Background(), append([]string{"--namespace=" + s.ns}, args...)...)
}

func (s *scene) must(args ...string) string {
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	return out
}

// apply gives YAML to the API server.
func (s *scene) apply(format string, args ...any) {
	cmd := exec.Command(filepath.Join(s.c.bin, "kubectl"), "--namespace="+s.ns, "apply", "-f", "-")
	cmd.Env = append(os.Environ(), "HOME="+s.c.place.file("home"), "KUBECONFIG="+s.c.place.file("kubeconfig"))
	cmd.Stdin = strings.NewReader(fmt.Sprintf(format, args...))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// value reads a part of an object.
func (s *scene) value(object, path string) string {
	return s.must("get", object, "-o", "jsonpath={"+path+"}")
}

// patience is how long a play waits for what Kubernetes or we bring about. How fast we are is for the benchmarks to
// tell: here seven plays share a machine.
const patience = time.Minute

// eventually waits until f has no complaint.
func (s *scene) eventually(limit time.Duration, what string, f func() error) {
	var err error
	begun := time.Now()
	for time.Since(begun) < limit {
		if err = f(); err == nil {
			if took := time.Since(begun); took > 5*time.Second {
				s.t.Logf("%s: after %.1f s", what, took.Seconds())
			}
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	s.t.Fatalf("%s: not within %v: %v", what, limit, err)
}

// rolledOut waits for all pods of a workload.
func (s *scene) rolledOut(what string) {
	if _, err := s.try("rollout", "status", what, "--timeout=90s"); err != nil {
		pods, _ := s.try("describe", "pods")
		s.t.Fatalf("%v\n%s", err, lastLines(pods, 60))
	}
}

// pod is what tests want to know of one.
type pod struct{ name, node, ip string }

// pods lists the ready pods with a label.
func (s *scene) pods(selector string) []pod {
	out := s.must("get", "pods", "-l", selector, "-o",
		`jsonpath={range .items[?(@.status.phase=="Running")]}{.metadata.name} {.spec.nodeName} {.status.podIP} {.status.conditions[?(@.type=="Ready")].status} [{.metadata.deletionTimestamp}]{"\n"}{end}`)
	var all []pod
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 5 && f[3] == "True" && f[4] == "[]" {
			all = append(all, pod{f[0], f[1], f[2]})
		}
	}
	return all
}

// reply is what a probe answers, see probe/main.go.
type reply struct{ Pod, Client, Error string }

// ask asks n times from a pod, each time over a new connection.
func (s *scene) ask(from pod, n int, url string) []reply {
	return s.replies(func() (string, error) {
		return s.try("exec", from.name, "--", "/probe", "get", fmt.Sprint("-n=", n), url)
	})
}

// askFrom asks from a member of the cluster's network: a node, or the outside.
func (s *scene) askFrom(member string, n int, url string) []reply {
	return s.replies(func() (string, error) {
		return s.in(member, ownBinary(s.c.e, "probe"), "get", fmt.Sprint("-n=", n), url)
	})
}

// in runs a command in a member of the cluster's network.
func (s *scene) in(member string, args ...string) (string, error) {
	state, err := s.c.place.running()
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	cmd, err := s.c.place.inside(context.Background(), state, member, args...)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("in %s: %s: %w\n%s", member, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// replies runs a probe, and once more if that could not be: kubectl exec has a way of its own to the pod.
func (s *scene) replies(probe func() (string, error)) []reply {
	var err error
	for range 3 {
		var out string
		out, err = probe()
		var all []reply
		for line := range strings.Lines(out) {
			var r reply
			if json.Unmarshal([]byte(line), &r) == nil {
				all = append(all, r)
			}
		}
		if len(all) > 0 {
			return all
		}
	}
	s.t.Fatalf("no answer of the probe: %v", err)
	return nil
}

// wantAll fails the test unless every reply is an answer, and returns how often each pod gave one.
func (s *scene) wantAll(what string, all []reply) map[string]int {
	by := map[string]int{}
	for _, r := range all {
		if r.Error != "" {
			s.t.Errorf("%s: %s", what, r.Error)
		}
		by[r.Pod]++
	}
	return by
}

// soon waits until every reply is an answer.
func (s *scene) soon(what string, ask func() []reply) {
	s.eventually(patience, what, func() error { return firstError(ask()) })
}

// firstError is that of the first reply that is no answer.
func firstError(all []reply) error {
	for _, r := range all {
		if r.Error != "" {
			return errors.New(r.Error)
		}
	}
	return nil
}

// wantNone fails the test if anybody answered.
func (s *scene) wantNone(what string, all []reply) {
	for _, r := range all {
		if r.Error == "" {
			s.t.Errorf("%s: %s answered, and nobody should", what, r.Pod)
		}
	}
}

// recorder is the *testing.T of a scene. If the test is listed as not yet passing its failures are kept and
// told, and its success is the error: the list may only shrink.
type recorder struct {
	t        *testing.T
	listed   bool
	mu       sync.Mutex
	failures []string
	undo     []func()
}

func (r *recorder) Logf(format string, args ...any) { r.t.Helper(); r.t.Logf(format, args...) }

func (r *recorder) Errorf(format string, args ...any) {
	r.t.Helper()
	if !r.listed {
		r.t.Errorf(format, args...)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// Fatalf ends the test's goroutine.
func (r *recorder) Fatalf(format string, args ...any) {
	r.t.Helper()
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) cleanup(f func()) { r.undo = append(r.undo, f) }

// play runs a scene's test and judges it.
func (r *recorder) play(f func(*scene)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(r.undo) - 1; i >= 0; i-- {
				r.undo[i]()
			}
		}()
		f(newScene(r))
	}()
	<-done
	switch {
	case !r.listed:
	case len(r.failures) == 0:
		r.t.Errorf("%s passes: take it off %s", r.t.Name(), notYetFile)
	default:
		r.t.Logf("not yet passing, as %s says: %s", notYetFile, strings.Join(r.failures, "\n"))
	}
}

// notYetFile lists the scenes that fail today, one a line, with the reason after a blank.
const notYetFile = "testdata/not-yet-passing.txt"

func notYet(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(notYetFile)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 0 && f[0][0] != '#' {
			listed[string(f[0])] = true
		}
	}
	return listed
}

func randomName() string { return fmt.Sprintf("%08x", time.Now().UnixNano()&0xffffffff) }

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
