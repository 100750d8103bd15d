//go:build linux

package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// keepTerminal remembers how the terminal is set, and returns a function that sets it so again: a shell in the client that
// was killed cannot do that itself.
func keepTerminal(stdin *os.File) (restore func()) {
	if !isTerminal(stdin) {
		return func() {}
	}
	fd := int(stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return func() {}
	}
	return func() {
		// Who is in the background is stopped for this, unless it does not listen.
		signal.Ignore(unix.SIGTTOU)
		defer signal.Reset(unix.SIGTTOU)
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, unix.Getpgrp())
		_ = term.Restore(fd, state)
	}
}

// isTerminal reports whether a stream is a person's terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && f != nil && term.IsTerminal(int(f.Fd()))
}
