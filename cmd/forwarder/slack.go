package main

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// slack is by how many nanoseconds the kernel may let our timers be late: prctl(2),
// PR_SET_TIMERSLACK; unless said otherwise 50,000.
//
// Go's runtime has a thread that looks after the others, sysmon in runtime/proc.go. From
// a system call until nothing runs any more it sleeps 20 µs at a time. A hundred changes a
// second, of half a millisecond each, have it wake thirteen times a change to find nothing,
// for a quarter of all our processor time; with this slack it wakes two or three times
// (BenchmarkForwarder: processor time of 1,000 changes). What we wait for ourselves takes
// milliseconds or more, and may take a few longer.
const slack = 4_000_000

// relax gives this process the slack. A thread inherits it from the one that starts it, and
// of one that runs it can be set only with more capabilities than we have, so the
// program is started once more in its own place: same process, arguments and environment. It
// returns in the process that has the slack, and where it cannot be had, for that is no
// reason not to work.
func relax() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if now, err := timerSlack(); err != nil || now >= slack {
		return
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, slack, 0, 0, 0); err != nil {
		return
	}
	// Threads with a real-time policy have none, and would be started again for ever.
	if now, err := timerSlack(); err != nil || now < slack {
		return
	}
	if program, err := os.Executable(); err == nil {
		_ = syscall.Exec(program, os.Args, os.Environ())
	}
}

// timerSlack is that of the thread, in nanoseconds.
func timerSlack() (int, error) { return unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0) }
