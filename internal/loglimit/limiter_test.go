package loglimit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestLimiter(t *testing.T) {
	l := NewLimiter(2, time.Minute)
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for i, step := range []struct {
		after time.Duration
		cause string
		want  bool
		due   string
	}{
		{0, "a", true, "[]"},
		{1 * time.Second, "a", true, "[]"},
		{2 * time.Second, "a", false, "[]"},
		{30 * time.Second, "b", true, "[]"},
		{59 * time.Second, "a", false, "[]"},
		{60 * time.Second, "a", true, "[{a 2}]"}, // a new period
		{89 * time.Second, "b", true, "[]"},
		{90 * time.Second, "b", true, "[]"}, // b left nothing out
		{200 * time.Second, "a", true, "[]"},
	} {
		if due := fmt.Sprint(l.Due(at(step.after))); due != step.due {
			t.Errorf("step %d: due %s, want %s", i, due, step.due)
		}
		if got := l.Allow(step.cause, at(step.after)); got != step.want {
			t.Errorf("step %d: allowed %v, want %v", i, got, step.want)
		}
	}
}

// Any number of causes takes a bounded memory and passes a bounded number of lines.
func TestLimiterOfManyCauses(t *testing.T) {
	l, now, passed := NewLimiter(2, time.Minute), time.Unix(1000, 0), 0
	for i := range 100_000 {
		if l.Allow(fmt.Sprint("cause ", i), now) {
			passed++
		}
	}
	if len(l.causes) > mostCauses+1 || passed > 2*(mostCauses+1) {
		t.Errorf("%d causes and %d lines, want at most %d and %d", len(l.causes), passed, mostCauses+1, 2*(mostCauses+1))
	}
	if due := l.Due(now.Add(time.Minute)); len(due) != 1 || due[0].Lines != 100_000-passed || len(l.causes) != 0 {
		t.Errorf("due %v, %d causes left", due, len(l.causes))
	}
}

// A namespace that floods the log does not keep out the lines about another, and a line
// says how many were left out, although none comes after it.
func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(NewHandler(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: Shorten})))
		for i := range 10_000 {
			log.Warn("conflict", "service", fmt.Sprintf("evil/s%d:p", i), "error", errors.New(strings.Repeat("é", 5000)))
		}
		log.With("more", 1).Warn("conflict", "service", "good/web:p")
		if n, all := strings.Count(out.String(), "service=evil/"), strings.Count(out.String(), "\n"); n != perNamespace || all != perNamespace+1 {
			t.Errorf("%d lines of %d, want %d and one of the other namespace", n, all, perNamespace)
		}
		if out.Len() > 21*(longestValue+200) {
			t.Errorf("%d bytes", out.Len())
		}
		out.Reset()
		time.Sleep(period)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "lines=9980") || !strings.Contains(got, `cause="conflict (namespace evil)"`) {
			t.Errorf("at the end of the period %q", got)
		}
		out.Reset()
		for i := range 1000 {
			log.WarnContext(WithCause(t.Context(), "format %d"), fmt.Sprintf("format %d", i))
		}
		if n := strings.Count(out.String(), "\n"); n != perCause {
			t.Errorf("%d lines of one format, want %d", n, perCause)
		}
		if !log.Enabled(context.Background(), slog.LevelInfo) || log.Enabled(context.Background(), slog.LevelDebug) {
			t.Error("the level is not that of the handler behind it")
		}
		time.Sleep(period) // no timer outlives the test
	})
}

func TestCut(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("é", 100), strings.Repeat("\xff", 100), strings.Repeat("€", 100)} {
		for most := 4; most < 60; most++ {
			got := Cut(text, most)
			if len(got) > most || utf8.ValidString(text) && !utf8.ValidString(got) || len(text) <= most && got != text {
				t.Errorf("%d bytes of %q: %q", most, text, got)
			}
		}
	}
}
