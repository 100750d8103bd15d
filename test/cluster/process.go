package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process is a program that the supervisor has started.
type process struct {
	name    string
	log     string // its file
	cmd     *exec.Cmd
	started time.Time
	done    chan struct{} // closed when it has ended
}

// startProcess starts a program in a network namespace, with its output in a file. It lives in the
// supervisor's pid namespace and ends with that at the latest.
func startProcess(n *netns, name, log string, cmd *exec.Cmd) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true // nobody's terminal interrupts it
	p := &process{name: name, log: log, cmd: cmd, started: time.Now(), done: make(chan struct{})}
	if err := n.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process as a power cut would, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ended is the error of a process that should run.
func (p *process) ended() error {
	return fmt.Errorf("%s ended: %v, the end of its log %s:\n%s", p.name, p.cmd.ProcessState, p.log, tailOf(p.log))
}

// tailOf returns the last lines of a file, for an error message.
func tailOf(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
