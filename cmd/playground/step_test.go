//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestExpectation(t *testing.T) {
	for _, tt := range []struct {
		name string
		want expectation
		came []string
		met  bool
	}{
		{"the same", expectation{answers: []string{"a", "b"}}, []string{"a", "b"}, true},
		{"one less", expectation{answers: []string{"a", "b"}}, []string{"a"}, false},
		{"one more", expectation{answers: []string{"a"}}, []string{"a", "b"}, false},
		{"nothing", expectation{answers: []string{"a"}}, nil, false},
		{"something for nothing", expectation{}, []string{"a"}, false},
		{"as many as the story says", expectation{answers: []string{"a", "b"}, number: 2}, []string{"a", "b"}, true},
		{"the cluster itself has another number", expectation{answers: []string{"a"}, number: 2}, []string{"a"}, false},
		{"one of them", expectation{answers: []string{"a", "b"}, one: true}, []string{"b"}, true},
		{"two of one", expectation{answers: []string{"a", "b"}, one: true}, []string{"a", "b"}, false},
		{"none of them", expectation{answers: []string{"a", "b"}, one: true}, []string{"c"}, false},
	} {
		if got := tt.want.met(outcome{Answers: tt.came}); got != tt.met {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.met)
		}
	}
}

// TestTake plays an asker whose answers come in turn.
func TestTake(t *testing.T) {
	broken := errors.New("broken")
	noChange := func(context.Context, *cluster) error { return nil }
	for _, tt := range []struct {
		name    string
		change  func(context.Context, *cluster) error
		answers []string
		errs    map[int]error // by the number of the question
		held    bool
		asked   int
		explain string
	}{
		{"right", nil, []string{"yes"}, nil, true, 1, ""},
		{"wrong without a change is wrong at once", nil, []string{"no", "yes"}, nil, false, 1, "came      no\n"},
		{"an error", nil, []string{"yes"}, map[int]error{0: broken}, false, 1, "came      an error: broken\n"},
		{"follows a change", noChange, []string{"no", "no", "yes"}, nil, true, 3, ""},
		{"an error on the way", noChange, []string{"no", "yes", "yes"}, map[int]error{1: broken}, true, 3, ""},
		{"the change fails", func(context.Context, *cluster) error { return broken }, []string{"yes"}, nil, false, 0, "came      an error: broken\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			ask := func(_ context.Context, _ place, command []string) (outcome, error) {
				at := min(asked, len(tt.answers)-1)
				asked++
				return outcome{Answers: []string{tt.answers[at]}}, tt.errs[at]
			}
			s := step{says: "It says yes.", change: tt.change, ask: []string{"lookup", "x"}, want: exactly("yes")}
			r := s.take(t.Context(), nil, ask)
			if r.held() != tt.held || asked != tt.asked {
				t.Errorf("held %v after %d questions, want %v after %d", r.held(), asked, tt.held, tt.asked)
			}
			if !tt.held && (!strings.Contains(r.explain(), tt.explain) || !strings.Contains(r.explain(), "expected  yes\n")) {
				t.Errorf("got %q, want %q in it", r.explain(), tt.explain)
			}
		})
	}
}

// TestTakeEndsWithContext: nothing follows, and the wait is cut short.
func TestTakeEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	ask := func(context.Context, place, []string) (outcome, error) {
		if asked++; asked == 3 {
			cancel()
		}
		return outcome{}, nil
	}
	s := step{change: func(context.Context, *cluster) error { return nil }, want: exactly("yes")}
	if r := s.take(ctx, nil, ask); r.held() || asked != 3 {
		t.Errorf("held %v after %d questions, want false after 3", r.held(), asked)
	}
}

func TestScreen(t *testing.T) {
	show := func(command bool, getenv func(string) string) (out, errs string, code int) {
		var o, e strings.Builder
		s := newScreen(environment{stdout: &o, stderr: &e, getenv: getenv}, command)
		s.fact("web", "a %s", "Service")
		s.progress("building")
		s.result(result{says: "It says yes.", asked: []string{"lookup", "web"}, want: expectation{answers: []string{"yes"}},
			came: outcome{Answers: []string{"yes"}, As: "web.x."}, waited: 20 * time.Millisecond})
		s.result(result{says: "It says no.", asked: []string{"lookup", "web"}, want: expectation{answers: []string{"no", "never"}},
			came: outcome{Answers: []string{"yes"}, As: "web.x.", From: "10.0.0.1:53"}})
		code = s.verdict()
		return o.String(), e.String(), code
	}
	out, errs, code := show(false, os.Getenv)
	want := `    web           a Service
    building
ok    1  It says yes.
         lookup web  →  yes   (web.x)   after 0.02 s
FAIL  2  It says no.
         asked     lookup web, in the client
         expected  no, never
         came      yes (asked as web.x., answered by 10.0.0.1:53)

1 of 2 steps failed.
`
	if out != want || errs != "" || code != exitFailed {
		t.Errorf("got code %d, errors %q, output\n%s\nwant\n%s", code, errs, out, want)
	}
	if out, errs, _ := show(true, os.Getenv); out != "" || errs != "    building\n" {
		t.Errorf("with a command: got %q and %q, want only what takes a while, and that on standard error", out, errs)
	}
}

func TestScreenHeld(t *testing.T) {
	var out strings.Builder
	s := newScreen(environment{stdout: &out, getenv: os.Getenv}, false)
	s.result(result{want: expectation{answers: []string{"yes"}}, came: outcome{Answers: []string{"yes"}}})
	if code := s.verdict(); code != 0 || !strings.Contains(out.String(), "All 1 steps held.") {
		t.Errorf("got code %d, output %q", code, out.String())
	}
}
