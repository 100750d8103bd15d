//go:build linux

package netlab

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a program that runs in a [Host]. The host kills it when it closes.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; written before done is closed
}

// Start starts cmd in the host: its network, its mounts, its host name. It takes cmd over: wait by [Process.Wait].
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The thread that starts it is the host's and lives as long as the host.
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = time.Second // an orphan of the process may hold its output open
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	err := h.Do(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		h.remember(p)
		go func() {
			p.err = cmd.Wait()
			h.forget(p)
			close(p.done)
		}()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: start %s: %w", h.Name, cmd.Path, err)
	}
	return p, nil
}

func (h *Host) remember(p *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.processes != nil { // nil while closing: then Pdeathsig ends it
		h.processes[p] = struct{}{}
	}
}

func (h *Host) forget(p *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.processes, p)
}

// Run starts cmd in the host and waits for its end; the error is that of [exec.Cmd.Run].
func (h *Host) Run(cmd *exec.Cmd) error {
	p, err := h.Start(cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Wait waits until the process has ended and returns its error, as [exec.Cmd.Wait]. Any number of goroutines may wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the number of the process in the pid namespace of the caller.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal; a process that is gone is no error.
func (p *Process) Signal(signal syscall.Signal) { _ = p.cmd.Process.Signal(signal) }

// Kill kills the process and waits until it has ended.
func (p *Process) Kill() {
	p.Signal(unix.SIGKILL)
	<-p.done
}

// Stop asks the process to end (SIGTERM) and kills it when ctx ends or the grace period is over, as a kubelet does.
func (p *Process) Stop(ctx context.Context, grace time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	p.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
	}
}
