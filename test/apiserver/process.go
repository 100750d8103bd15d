package apiserver

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

// process is a child. It leads a process group of its own, so that Ctrl-C at a terminal reaches the test
// and not the servers the test still needs, and the kernel kills it when the test binary dies.
type process struct {
	name   string
	log    string // path of the file that holds its output
	cmd    *exec.Cmd
	exited chan struct{} // closed when the child has ended
	err    error         // why it ended; read it after exited is closed
}

// start runs a program with its output appended to a file.
func start(path, log string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(path), log: log, cmd: exec.Command(path, args...), exited: make(chan struct{})}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
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
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// stop asks the child to end and waits for it; a child that takes longer than timeout is killed, which is
// an error.
func (p *process) stop(timeout time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(timeout):
		p.kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM, the end of its log:\n%s", p.name, timeout, tail(p.log))
	}
}

// kill ends the child at once and waits for it.
func (p *process) kill() {
	// The only error is that the group is gone, and then exited is about to be closed.
	_ = p.signal(syscall.SIGKILL)
	<-p.exited
}

// signal sends a signal to the child's process group. The group's number cannot belong to others: the
// child is waited for only by us, and a child that was waited for gets no signal.
func (p *process) signal(sig syscall.Signal) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s to %s: %w", sig, p.name, err)
	}
	return nil
}

// tail returns the last lines of a log, or why it cannot be read.
func tail(log string) string {
	const lines = 60
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
