//go:build linux

package netlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// roleEnv carries a role, as JSON, from a process of a sandbox to the next one. Whoever reads it takes it out of the
// environment, so that programs started later see nothing of it.
const roleEnv = "SIGNPOST_NETLAB"

// role says what a process that finds it in its environment is to do.
type role struct {
	// Init: set up the namespaces as process 1, then run the program. Otherwise the process is that program.
	Init bool `json:"init,omitempty"`
	// Probe: init ends after the set-up and runs no program.
	Probe bool `json:"probe,omitempty"`
	// Scratch is the directory that init removes if its starter goes away.
	Scratch string `json:"scratch,omitempty"`
}

// Files of init beside the standard three.
const (
	lifelineFd = 3 // nothing is ever written; end of file means that the starter is gone
	reportFd   = 4 // a failed set-up step as JSON, or nothing
)

// initCalled is true in a process that has called [Init]: one that has not would, in a sandbox, begin from the start
// instead, make a sandbox itself, and so on.
var initCalled bool

// inside is true in a process that runs in a sandbox; set once, by [Init].
var inside bool

// Inside reports whether this process runs in a [Sandbox]. It is meaningful after [Init] or [Enter].
func Inside() bool { return inside }

// A Sandbox runs this program again, inside private namespaces.
type Sandbox struct {
	Args  []string  // arguments of the program, without its name
	Env   []string  // its environment; nil means the one of this process
	Stdin io.Reader // as in [exec.Cmd]; an [*os.File] is handed over as it is, so that a terminal stays a terminal

	Stdout, Stderr io.Writer

	// Scratch, if set, is a directory that is removed when the starter dies before it can do so itself.
	Scratch string

	// NoUserNamespace asks root to keep its real privileges: no user namespace is made, which is nearer to a
	// privileged container (socket buffers beyond the limit, BPF). Without root it has no effect.
	NoUserNamespace bool
}

// Run runs the program inside the sandbox and returns its exit code (128+n if signal n ended it). It must call [Init]
// before anything else. When ctx ends, all of the sandbox is killed and the error is the context's cause. If the machine
// does not allow such namespaces the error is a [*Refused], and the program has not run.
func (s *Sandbox) Run(ctx context.Context) (int, error) { return s.enter(ctx, false) }

// Probe finds out whether [Sandbox.Run] can work here: it makes the namespaces, a bridge and a pair of interfaces, and
// goes away again. The error is a [*Refused] if the machine says no.
func (s *Sandbox) Probe(ctx context.Context) error {
	code, err := s.enter(ctx, true)
	if err == nil && code != 0 {
		err = fmt.Errorf("probe private namespaces: exit code %d, expected 0", code)
	}
	return err
}

// enter tries the kinds of sandbox that this user may make, and reports the first refusal if none works.
func (s *Sandbox) enter(ctx context.Context, probe bool) (int, error) {
	if !initCalled {
		return -1, errors.New("start sandbox: this program has not called netlab.Init, and so would not know itself inside")
	}
	var first *Refused
	for _, userNS := range s.kinds(os.Geteuid() == 0) {
		code, err := s.attempt(ctx, userNS, probe)
		refused, ok := errors.AsType[*Refused](err)
		if !ok {
			return code, err
		}
		if first == nil {
			first = refused
		}
	}
	return -1, first
}

// kinds lists in which order to try with (true) and without (false) a user namespace. Only root can do without.
func (s *Sandbox) kinds(root bool) []bool {
	switch {
	case !root:
		return []bool{true}
	case s.NoUserNamespace:
		return []bool{false, true}
	default:
		return []bool{true, false}
	}
}

// attempt starts init in new namespaces and waits for its end.
func (s *Sandbox) attempt(ctx context.Context, userNS, probe bool) (int, error) {
	cmd, err := s.command(ctx, userNS, probe)
	if err != nil {
		return -1, err
	}
	lifeline, hold, err := os.Pipe()
	if err != nil {
		return -1, fmt.Errorf("start sandbox: %w", err)
	}
	report, reportW, err := os.Pipe()
	if err != nil {
		return -1, errors.Join(fmt.Errorf("start sandbox: %w", err), lifeline.Close(), hold.Close())
	}
	defer report.Close()
	defer hold.Close()
	cmd.ExtraFiles = []*os.File{lifeline, reportW} // lifelineFd, reportFd
	cmd.Cancel = hold.Close                        // init goes, and all with it
	cmd.WaitDelay = 5 * time.Second                // then the hard way
	err = cmd.Start()
	lifeline.Close()
	reportW.Close()
	if err != nil {
		return -1, refusal(failedStep{Step: "create namespaces", Err: err.Error(), Errno: errnoOf(err)})
	}
	setup, _ := io.ReadAll(report) // a read error is an init that died: Wait tells
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	if len(setup) > 0 {
		return -1, parseRefusal(setup)
	}
	if _, exited := errors.AsType[*exec.ExitError](waitErr); waitErr != nil && !exited {
		return -1, fmt.Errorf("wait for sandbox: %w", waitErr)
	}
	return exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// command is this program again, to be init of new namespaces.
func (s *Sandbox) command(ctx context.Context, userNS, probe bool) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: find this program's own file: %w", err)
	}
	as, err := json.Marshal(role{Init: true, Probe: probe, Scratch: s.Scratch})
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	env := s.Env
	if env == nil {
		env = os.Environ()
	}
	cmd := exec.CommandContext(ctx, self, s.Args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(env[:len(env):len(env)], roleEnv+"="+string(as))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS,
	}
	if userNS {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, err = idMap("/proc/self/uid_map", os.Geteuid())
		if err == nil {
			cmd.SysProcAttr.GidMappings, err = idMap("/proc/self/gid_map", os.Getegid())
		}
	}
	return cmd, err
}

// idMap says who is who in the new user namespace. Root keeps every identity that it has now; anybody else may only
// become root of the new namespace (user_namespaces(7), "Defining user and group ID mappings").
func idMap(file string, id int) ([]syscall.SysProcIDMap, error) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	return parseIDMap(string(text))
}

// exitCode maps a wait status to the number a shell would show.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
