package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// outcome is how one of upstream's specs ended.
type outcome struct {
	name  string
	state types.SpecState
	took  time.Duration
	why   string // of a failure, or why it skipped itself
}

func (o outcome) passed() bool { return o.state.Is(types.SpecStatePassed) }

// word is the state as the tables say it.
func (o outcome) word() string {
	switch {
	case o.passed():
		return "pass"
	case o.state.Is(types.SpecStateSkipped):
		return "skip"
	}
	return "FAIL" // failed, panicked, timed out, interrupted, aborted
}

// outcomes is what a run of the suite was.
type outcomes struct {
	ran   []outcome       // the specs that were selected, sorted by name
	known map[string]bool // every spec of the suite
	suite []string        // what failed that is no spec: the preparations and the tidying up
}

// readReport reads what `ginkgo --json-report` has written.
func readReport(file string) (outcomes, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return outcomes{}, fmt.Errorf("read the report of the specs: %w", err)
	}
	var reports []types.Report
	if err := json.Unmarshal(text, &reports); err != nil {
		return outcomes{}, fmt.Errorf("read the report of the specs in %s: %w", file, err)
	}
	all := outcomes{known: map[string]bool{}}
	for _, r := range reports {
		for _, reason := range r.SpecialSuiteFailureReasons {
			// Said of every run in which a spec failed.
			if !strings.HasPrefix(reason, "Test Suite Failed") {
				all.suite = append(all.suite, reason)
			}
		}
		for _, s := range r.SpecReports {
			all.add(s)
		}
	}
	slices.SortFunc(all.ran, func(a, b outcome) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

func (all *outcomes) add(s types.SpecReport) {
	if !s.LeafNodeType.Is(types.NodeTypeIt) {
		if s.Failed() {
			all.suite = append(all.suite, fmt.Sprintf("%s %s: %s", s.LeafNodeType, s.LeafNodeText, s.Failure.Message))
		}
		return
	}
	all.known[s.FullText()] = true
	// What was not selected is reported as skipped, too, but nobody attempted it.
	if s.NumAttempts == 0 {
		return
	}
	all.ran = append(all.ran, outcome{name: s.FullText(), state: s.State, took: s.RunTime, why: s.Failure.Message})
}

// find returns how a spec ended.
func (all outcomes) find(name string) (outcome, bool) {
	i, ok := slices.BinarySearchFunc(all.ran, name, func(o outcome, name string) int { return strings.Compare(o.name, name) })
	if !ok {
		return outcome{}, false
	}
	return all.ran[i], true
}

// passed counts the specs that did.
func (all outcomes) passed() int {
	n := 0
	for _, o := range all.ran {
		if o.passed() {
			n++
		}
	}
	return n
}
