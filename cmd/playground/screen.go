//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
)

// screen is what a person reads. Facts tell what there is, steps what was shown. It is plain text; colours come only on a
// terminal, and not if NO_COLOR is set (no-color.org).
type screen struct {
	out    io.Writer
	colour bool
	quiet  bool // a command runs instead of the walk: its output is to stand alone
	steps  int
	failed int
}

// newScreen writes to standard output, which with a command belongs to the command.
func newScreen(env environment, command bool) *screen {
	s := &screen{out: env.stdout, quiet: command}
	if command {
		s.out = env.stderr
	}
	s.colour = isTerminal(s.out) && env.getenv("NO_COLOR") == ""
	return s
}

func (s *screen) title() {
	s.line("Signpost playground: a small Kubernetes network in private namespaces. Nothing else on this machine changes.\n")
}

// progress tells what takes a while, also with a command.
func (s *screen) progress(format string, args ...any) {
	fmt.Fprintf(s.out, "    "+format+"\n", args...)
}

// fact tells something that is there now.
func (s *screen) fact(name, format string, args ...any) {
	s.line(fmt.Sprintf("    %-13s "+format, append([]any{name}, args...)...))
}

func (s *screen) line(text string) {
	if !s.quiet {
		fmt.Fprintln(s.out, text)
	}
}

// said shows the end of what a program wrote.
func (s *screen) said(name string, o *output) {
	if text := o.tail(20); text != "" {
		s.line("The last that " + name + " said:\n" + indent(text, "    "))
	}
}

// result shows how a step ended.
func (s *screen) result(r result) {
	s.steps++
	mark, text := s.paint("ok  ", green), r.summary()
	if !r.held() {
		s.failed++
		mark, text = s.paint("FAIL", red), r.explain()
	}
	s.line(fmt.Sprintf("%s %2d  %s\n%s", mark, s.steps, r.says, indent(text, "         ")))
}

// verdict is the last line; it returns the exit code.
func (s *screen) verdict() int {
	if s.failed > 0 {
		s.line(fmt.Sprintf("\n%d of %d steps failed.", s.failed, s.steps))
		return exitFailed
	}
	s.line(fmt.Sprintf("\nAll %d steps held.", s.steps))
	return 0
}

// Colours of ECMA-48.
const (
	red   = 31
	green = 32
)

func (s *screen) paint(word string, colour int) string {
	if !s.colour {
		return word
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, word)
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by)
}
