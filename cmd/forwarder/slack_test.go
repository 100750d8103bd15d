package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// beRelaxed makes this test binary a process that relaxes and tells what it is then.
const beRelaxed = "SIGNPOST_TEST_RELAX"

// relaxed prints the slack of two of its threads, its process id and its arguments.
func relaxed() {
	setTimerSlack()
	runtime.LockOSThread()
	own, err := timerSlack()
	other := make(chan int)
	go func() {
		n, _ := timerSlack()
		other <- n
	}()
	fmt.Println(own, err, <-other, os.Getpid(), os.Args[1:])
}

// TestSetTimerSlack: the process that goes on is the one that was started, with the slack in all
// of its threads.
func TestSetTimerSlack(t *testing.T) {
	for name, before := range map[string]int{"the kernel's own": 50_000, "more than ours": 2 * slack} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // the child has the slack of the thread that starts it
			defer runtime.UnlockOSThread()
			mine, err := timerSlack()
			if err != nil {
				t.Fatal(err)
			}
			set(t, before)
			defer set(t, mine)
			cmd := exec.Command(os.Args[0], "one", "two words")
			cmd.Env = append(os.Environ(), beRelaxed+"=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			is := max(before, slack)
			want := fmt.Sprintln(is, nil, is, cmd.Process.Pid, []string{"one", "two words"})
			if got := string(out); got != want {
				t.Errorf("got  %swant %s", got, want)
			}
		})
	}
}

func set(t *testing.T, slack int) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}
