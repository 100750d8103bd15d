package forward

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// patience is how long anything may take before a test gives up.
const patience = time.Minute

// buildForwarder compiles cmd/forwarder as a user would and returns the binary.
func buildForwarder(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "forwarder")
	if _, err := goTool("build", "-o", binary, "./cmd/forwarder"); err != nil {
		t.Fatal(err)
	}
	return binary
}

// A forwarder is a process in a host.
type forwarder struct {
	*netlab.Process
	host *netlab.Host

	mu  sync.Mutex
	log bytes.Buffer
}

// startForwarder runs it until the (sub)test that owns it ends.
func startForwarder(t *testing.T, host *netlab.Host, binary string, args ...string) *forwarder {
	t.Helper()
	f := &forwarder{host: host}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = f, f
	var err error
	if f.Process, err = host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Kill()
		if t.Failed() {
			t.Logf("forwarder %q said:\n%s", args, f.logged())
		}
	})
	return f
}

// Write implements io.Writer for what the process says.
func (f *forwarder) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(text)
}

func (f *forwarder) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// ends waits for the end of the process and returns its exit code, -1 for a signal.
func (f *forwarder) ends(t *testing.T) int {
	t.Helper()
	select {
	case <-f.Done():
	case <-time.After(patience):
		t.Fatalf("the forwarder has not ended within %s:\n%s", patience, f.logged())
	}
	if exit, ok := errors.AsType[*exec.ExitError](f.Wait()); ok {
		return exit.ExitCode()
	}
	return 0
}

// becomes polls a page until it is what ok wants.
func (f *forwarder) becomes(t *testing.T, what, url string, ok func(code int, body string) bool) {
	t.Helper()
	eventually(t, what, func() error {
		select {
		case <-f.Done():
			t.Fatalf("%s: the forwarder has ended:\n%s", what, f.logged())
		default:
		}
		if code, body := f.host.Get(t.Context(), url); !ok(code, body) {
			return fmt.Errorf("%s: %d %s", url, code, body)
		}
		return nil
	})
}

// eventually polls until f has no error any more, and fails with its last one when patience ends.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %s: %v", what, patience, err)
		}
	}
}
