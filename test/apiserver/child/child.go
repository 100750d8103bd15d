// Package child runs the server processes of a test: each with a log file, in a process group of its own,
// and dead when the test is. It also finds the addresses that they listen at.
//
// It must not know what it runs.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a child. It leads a process group of its own, so that Ctrl-C at a terminal reaches the test
// and not the servers the test still needs, and the kernel kills it when the test binary dies. Its methods
// may be called at any time, from several goroutines.
type Process struct {
	Name string // of the program
	Log  string // path of the file that holds its output

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait; read it after exited is closed
}

// Start runs a program with its output appended to a file, in the folder of that file. Whoever starts a
// child ends it, by Stop or Kill.
func Start(path, log string, args ...string) (*Process, error) {
	p := &Process{Name: filepath.Base(path), Log: log, cmd: exec.Command(path, args...), exited: make(chan struct{})}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Dir = filepath.Dir(log)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// "Parent death" is the death of the thread that forked (prctl(2), PR_SET_PDEATHSIG), and a Go
		// program ends threads at times. This one is kept as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	return p, nil
}

// PID returns the child's process number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the child has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err returns how the child ended: nil for exit code 0, an *exec.ExitError otherwise. It waits for that.
func (p *Process) Err() error {
	<-p.exited
	return p.err
}

// Stop asks the child to end and waits for it; a child that takes longer than timeout is killed, which is
// an error.
func (p *Process) Stop(timeout time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(timeout):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM, the end of its log:\n%s", p.Name, timeout, p.Tail())
	}
}

// Kill ends the child at once and waits for it.
func (p *Process) Kill() {
	_ = p.signal(syscall.SIGKILL) // our own child can be killed, or has ended
	<-p.exited
}

// signal sends a signal to the child unless it has ended.
func (p *Process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", sig, p.Name, err)
	}
	return nil
}

// Tail returns the last lines of the child's log, or why they cannot be read.
func (p *Process) Tail() string {
	const lines = 60
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
