package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// assetsVariable names the directory of etcd, kube-apiserver and kubectl, as in controller-runtime's envtest.
const assetsVariable = "KUBEBUILDER_ASSETS"

// programs are the files that a directory of programs must hold.
var programs = []string{"etcd", "kube-apiserver", "kubectl"}

// errAbsent says that nothing is wrong but that the programs have not been built.
var errAbsent = errors.New("the Kubernetes programs are not there")

// assets returns the directory of the programs, or skips the test, or fails it: in CI, or where
// $KUBEBUILDER_ASSETS promises what is not there.
func assets(t testing.TB) string {
	t.Helper()
	dir, err := locate()
	switch {
	case err == nil:
		return dir
	case errors.Is(err, errAbsent) && os.Getenv("CI") != "true":
		t.Skipf("%v\nThis test needs a real API server. Build it once (about 5 minutes on 2 cores):\n\tgo -C test/cluster run . build\nor name a directory of etcd, kube-apiserver and kubectl in %s.", err, assetsVariable)
	default:
		t.Fatal(err)
	}
	return ""
}

// locate finds the programs, once per process.
var locate = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return dir, holds(dir)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	module, err := harness(cwd)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errAbsent, err)
	}
	command := "where"
	if os.Getenv("CI") == "true" {
		command = "build"
	}
	return run(module, command)
})

// holds checks a directory that the user named.
func holds(dir string) error {
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s=%s: want %v there: %w", assetsVariable, dir, programs, err)
		}
	}
	return nil
}

// harness returns the directory of the module test/cluster. Tests run in the folder of their package,
// somewhere below the repository's root.
func harness(cwd string) (string, error) {
	for dir := cwd; ; dir = filepath.Dir(dir) {
		module := filepath.Join(dir, "test", "cluster")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no test/cluster/go.mod in %s or above it", cwd)
		}
	}
}

// run executes a command of test/cluster and returns the directory that it prints. The progress of a build
// goes to the standard error, as a test that says nothing for minutes looks dead.
func run(module, command string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("go", "-C", module, "run", ".", command)
	// The module has its own go.mod: a work file or flags for the tested module are not for it.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if command == "build" {
		cmd.Stderr = io.MultiWriter(&stderr, os.Stderr)
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: go -C test/cluster run . %s: %w\n%s", errAbsent, command, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(bytes.TrimSpace(stdout.Bytes())), nil
}
