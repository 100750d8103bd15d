package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	terminalInterval = 200 * time.Millisecond
	logInterval      = 15 * time.Second // without a terminal, each report is a line of its own
	tailLines        = 40               // kept of the child's output, to show when it fails
)

// progress reads the output of a child that takes long, such as `go build -v`, and shows how far it is: one
// line that rewrites itself on a terminal, a line now and then elsewhere. It is an io.Writer for exec.Cmd.
type progress struct {
	out   io.Writer
	label string
	what  string // is counted
	read  reader
	width int // columns of the terminal, 0 if out is none
	start time.Time
	stop  chan struct{}
	done  sync.WaitGroup

	mu    sync.Mutex // guards the rest
	rest  []byte     // an incomplete last line
	last  string     // what is shown of the last lines
	count int        // lines that are counted
	lines []string   // the newest tailLines lines
}

// reader says of a line of the child's output whether it counts, and what of it is shown; if that is empty,
// what was shown before stays.
type reader func(line string) (counts bool, show string)

// newProgress starts a reporter of the packages that are compiled; finish ends it.
func newProgress(out io.Writer, label string) *progress {
	return newCounter(out, label, "packages", func(line string) (bool, string) {
		// The path of a package has no blanks; everything else is a message of the go command.
		return line != "" && !strings.ContainsAny(line, " \t"), line
	})
}

// newCounter starts a reporter of something else; finish ends it.
func newCounter(out io.Writer, label, what string, read reader) *progress {
	p := &progress{out: out, label: label, what: what, read: read, width: columns(out), start: time.Now(), stop: make(chan struct{})}
	interval := logInterval
	if p.width > 0 {
		interval = terminalInterval
	}
	p.done.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.show(p.line())
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// columns returns the width of the terminal that w is, or 0.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// Write takes a piece of the child's output.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		line, rest, found := bytes.Cut(p.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		p.add(string(line))
		p.rest = rest
	}
}

// add counts a line, and keeps it.
func (p *progress) add(line string) {
	counts, show := p.read(line)
	if counts {
		p.count++
	}
	if show != "" {
		p.last = show
	}
	p.lines = append(p.lines, line)
	if len(p.lines) > tailLines {
		p.lines = p.lines[1:]
	}
}

// line is the report of this moment.
func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%s %6s  %4d %s  %s", p.label, time.Since(p.start).Round(time.Second), p.count, p.what, p.last)
}

func (p *progress) show(line string) {
	if p.width == 0 {
		fmt.Fprintln(p.out, line)
		return
	}
	if len(line) >= p.width {
		line = line[:p.width-1]
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
}

// finish stops the reports and writes the closing line.
func (p *progress) finish(ok bool) {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	p.last = "done"
	if !ok {
		p.last = "stopped"
	}
	p.mu.Unlock()
	p.show(p.line())
	if p.width > 0 {
		fmt.Fprintln(p.out)
	}
}

// tail returns the newest output of the child. Call it after the child has ended.
func (p *progress) tail() string {
	return strings.Join(p.lines, "\n") + string(p.rest)
}
