//go:build linux

package netlab

import (
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

// spawn runs f on an operating system thread of its own that ends with f: namespaces entered there are never seen by
// other goroutines, because a thread whose goroutine ends while locked is destroyed. The main thread cannot be
// destroyed (it would keep the namespaces until the process ends), so it is passed over.
func spawn(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		elsewhere := make(chan struct{})
		spawn(func() { close(elsewhere); f() })
		<-elsewhere // hold the main thread until f has another one
		runtime.UnlockOSThread()
	}()
}

// onThread runs f as [spawn] does and returns its result.
func onThread(f func() error) error {
	done := make(chan error, 1)
	spawn(func() { done <- f() })
	return <-done
}

// ignoreTerminalSignals makes this process deaf for what a terminal sends to its whole process group.
func ignoreTerminalSignals() {
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGHUP)
}
