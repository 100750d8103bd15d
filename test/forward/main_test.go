// Package forward tests the way of a Service from a real API server to packets: kubectl applies objects, a
// running forwarder, a process of its own in the network of a node, reads them with the rights that
// manifests/forwarder gives it, and hosts around it dial the VIPs.
//
// What the rules are for each kind of Service is the business of internal/dataplane/conformance, and what is
// asked of the API that of cmd/forwarder: here the parts are only seen together, over the life of each. The
// package must not import what it tests, and never asserts how long something takes.
package forward

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// root is the top of the repository, seen from this package.
const root = "../.."

// assetsVariable is where test/apiserver looks for its programs before it looks elsewhere.
const assetsVariable = "KUBEBUILDER_ASSETS"

func TestMain(m *testing.M) {
	netlab.Init()
	if !netlab.Inside() {
		if err := fetch(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// fetch does what needs a network other than the sandbox's: it has go get what the forwarder is built from and,
// where nothing may be skipped, the programs of the API server too.
func fetch() error {
	if _, err := goTool("list", "-deps", "./cmd/forwarder"); err != nil {
		return err
	}
	if os.Getenv("CI") != "true" || os.Getenv(assetsVariable) != "" {
		return nil
	}
	dir, err := goTool("-C", "test/cluster", "run", ".", "build")
	if err != nil {
		return err
	}
	return os.Setenv(assetsVariable, dir)
}

// goTool runs go at the top of the repository and returns what it prints.
func goTool(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, errs.Bytes())
	}
	return string(bytes.TrimSpace(out.Bytes())), nil
}
