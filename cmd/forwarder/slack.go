package main

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// slack is the timer slack of this process in nanoseconds: how late the kernel may fire our
// timers (prctl(2), PR_SET_TIMERSLACK). The default is 50,000.
//
// A thread of Go's runtime, sysmon in runtime/proc.go, monitors the others. From a system
// call until the process is idle, it wakes every 20 µs. With a hundred changes a second, of
// half a millisecond each, it wakes thirteen times per change to find nothing, which costs a
// quarter of our CPU time. With this slack it wakes two or three times
// (BenchmarkForwarder: processor time of 1,000 changes). Our own timers take milliseconds or
// more and tolerate the delay.
const slack = 4_000_000

// setTimerSlack re-executes the process with this timer slack. A thread inherits the slack
// from its creator, and changing it for a running thread needs more capabilities than we
// have, so the program starts again in its own place: same process, arguments and
// environment. setTimerSlack returns in the process that has the slack, and if setting it
// fails, because the forwarder works without.
func setTimerSlack() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if now, err := timerSlack(); err != nil || now >= slack {
		return
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, slack, 0, 0, 0); err != nil {
		return
	}
	// Threads with a real-time policy have no slack and would be re-executed forever.
	if now, err := timerSlack(); err != nil || now < slack {
		return
	}
	if program, err := os.Executable(); err == nil {
		_ = syscall.Exec(program, os.Args, os.Environ())
	}
}

// timerSlack returns the timer slack of the thread in nanoseconds.
func timerSlack() (int, error) { return unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0) }
