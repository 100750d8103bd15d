//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A step is one row of the walk: something may change, the client asks something, and an answer has to come.
type step struct {
	says string // what it shows, for somebody who sees it for the first time
	// change alters the cluster first; nil is no change. After a change the answer may take a moment to follow.
	change func(context.Context, *cluster) error
	from   place    // who asks; nil is the client
	where  string   // the same for people: "outside"; empty is the client
	ask    []string // the command there
	want   func(*cluster) expectation
}

// An expectation is what has to come.
type expectation struct {
	answers []string // sorted
	number  int      // how many answers there must be, if not 0: known to the story, whatever the cluster says
	one     bool     // any one of the answers, instead of all
}

func (e expectation) String() string {
	text := strings.Join(e.answers, ", ")
	switch {
	case e.one:
		return "one of " + text
	case e.number > 0 && e.number != len(e.answers):
		return fmt.Sprintf("%d answers; the playground itself has %d: %s", e.number, len(e.answers), text)
	}
	return text
}

func (e expectation) met(o outcome) bool {
	if e.one {
		return len(o.Answers) == 1 && slices.Contains(e.answers, o.Answers[0])
	}
	return (e.number == 0 || e.number == len(e.answers)) && slices.Equal(e.answers, o.Answers)
}

// outcome is what one of the client's programs found, as it prints it with -json.
type outcome struct {
	Answers []string `json:"answers"`        // sorted; for a name without an answer the reason, such as NXDOMAIN
	As      string   `json:"as,omitempty"`   // what was really asked: the full name, the address
	From    string   `json:"from,omitempty"` // who answered
}

func (o outcome) String() string {
	text := strings.Join(o.Answers, ", ")
	if text == "" {
		text = "nothing"
	}
	var notes []string
	if o.As != "" {
		notes = append(notes, "asked as "+o.As)
	}
	if o.From != "" {
		notes = append(notes, "answered by "+o.From)
	}
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, ", ") + ")"
	}
	return text
}

// A result is a step after it was taken.
type result struct {
	says   string
	where  string // empty: in the client
	asked  []string
	want   expectation
	came   outcome
	err    error // of the change, or of the client's program
	waited time.Duration
}

// held reports whether the step shows what it says.
func (r result) held() bool { return r.err == nil && r.want.met(r.came) }

// summary is one line about a step that held.
func (r result) summary() string {
	text := strings.Join(r.asked, " ") + "  →  "
	if r.where != "" {
		text = r.where + ": " + text
	}
	text += strings.Join(r.came.Answers, ", ")
	if as := strings.TrimSuffix(r.came.As, "."); as != "" && !slices.Contains(r.asked, as) && !slices.Contains(r.asked, as+".") {
		text += "   (" + as + ")"
	}
	if r.waited > 0 {
		text += fmt.Sprintf("   after %.2f s", r.waited.Seconds())
	}
	return text
}

// explain says of a step that failed what was asked, what was expected and what came.
func (r result) explain() string {
	where := "in the client"
	if r.where != "" {
		where = "by " + r.where
	}
	text := fmt.Sprintf("asked     %s, %s\nexpected  %s\n", strings.Join(r.asked, " "), where, r.want)
	if r.err != nil {
		return text + fmt.Sprintf("came      an error: %v\n", r.err)
	}
	text += fmt.Sprintf("came      %s\n", r.came)
	if r.waited > 0 {
		text += fmt.Sprintf("waited    %.0f s for it\n", r.waited.Seconds())
	}
	return text
}

// How long an answer may take to follow a change, and how often to look. It takes some milliseconds; the limit is for a
// busy machine.
const (
	followLimit = 10 * time.Second
	followPoll  = 20 * time.Millisecond
)

// asker runs one of the client's programs somewhere.
type asker func(ctx context.Context, from place, command []string) (outcome, error)

// take takes a step.
func (s step) take(ctx context.Context, c *cluster, ask asker) result {
	r := result{says: s.says, where: s.where, asked: s.ask}
	from := s.from
	if from == nil {
		from = fromClient
	}
	if s.change != nil {
		if r.err = s.change(ctx, c); r.err != nil {
			r.want = s.want(c)
			return r
		}
	}
	r.want = s.want(c)
	began := time.Now()
	for {
		r.came, r.err = ask(ctx, from, s.ask)
		if r.held() || s.change == nil {
			break
		}
		if r.waited = time.Since(began); r.waited > followLimit || ctx.Err() != nil {
			break
		}
		time.Sleep(followPoll)
	}
	if s.change != nil {
		r.waited = time.Since(began)
	}
	return r
}
