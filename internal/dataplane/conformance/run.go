//go:build linux

package conformance

import (
	"embed"
	"flag"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// Backend is a dataplane as these tests need it. Its functions are called on a thread
// in the network namespace of a node.
type Backend struct {
	// Open opens the dataplane. Whether this kernel can run it is for the caller of Run to find out.
	Open func() (dataplane.Dataplane, error)
	// State tells the kernel's state as text, the same for all ways to the same table. Without it there
	// are no sequences, and NoState says why.
	State   func() (string, error)
	NoState string
	// Proven says that another dataplane's tests show that the scenarios notice faults: they are not
	// played with faults again.
	Proven bool
	// Samples are how many connections tell whether backends share them evenly, where they are taken
	// in turn: that shows sooner than where they are drawn.
	Samples int
	// Lacks names what the dataplane cannot do (see needs.go), with the reason.
	Lacks map[string]string
	// Sequences is how many random sequences are played, if -rapid.checks does not say it. With -short
	// rapid plays a fifth of them: less than five would be none.
	Sequences int
}

// Choose returns a number from 0 to n-1. The label is for people.
type Choose func(n int, label string) int

// check plays the property with random choices. A hundred sequences of packets, as many as
// rapid plays by default, would take long.
func check(t *testing.T, sequences int, property func(Choose) error) {
	checks := flag.Lookup("rapid.checks").Value
	if usual := checks.String(); usual == "100" {
		checks.Set(strconv.Itoa(sequences))
		defer checks.Set(usual)
	}
	rapid.Check(t, func(rt *rapid.T) {
		choose := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(rt, label) }
		if err := property(choose); err != nil {
			rt.Fatal(err)
		}
	})
}

// Run plays all scenarios on a dataplane; then on mutants of it, on which they must fail; then
// in random order among random changes. It needs netlab.Enter in the caller's TestMain.
func Run(t *testing.T, b Backend) {
	all := slices.DeleteFunc(load(t), b.otherwise)
	t.Run("scenarios", func(t *testing.T) { runScenarios(t, b, all) })
	all = slices.DeleteFunc(all, func(s scenario) bool { return b.cannot(s) != "" })
	if !b.Proven {
		t.Run("mutants", func(t *testing.T) { runMutants(t, b, all) })
	}
	t.Run("sequences", func(t *testing.T) { runSequences(t, b, all) })
}

//go:embed scenarios
var files embed.FS

// load reads the scenarios; with -short the first of each file.
func load(t testing.TB) []scenario {
	t.Helper()
	names, err := fs.Glob(files, "scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []scenario
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		list, err := parse(path.Base(name), string(text))
		if err != nil {
			t.Fatal(err)
		}
		if testing.Short() {
			list = list[:min(1, len(list))]
		}
		all = append(all, list...)
	}
	return all
}

// title is the name of a scenario's subtest.
func (s scenario) title() string { return strings.TrimSuffix(s.file, ".txt") + "/" + s.name }

// dialled is everything that the scenarios ask.
func dialled(all []scenario) []destination {
	var list []destination
	for _, s := range all {
		for _, st := range s.steps {
			switch st := st.(type) {
			case ask:
				list = append(list, st.to...)
			case hold:
				list = append(list, st.to)
			}
		}
	}
	return list
}

func runScenarios(t *testing.T, b Backend, all []scenario) {
	w := newWorld(t, b, dialled(all))
	for _, s := range all {
		t.Run(s.title(), func(t *testing.T) {
			if why := b.cannot(s); why != "" {
				t.Skip(why)
			}
			p := w.play(s)
			for _, f := range p.findings {
				t.Error(f)
			}
			if p.broken {
				w.recover(t, mutant{})
			}
			p.skip(t)
		})
	}
}

// skip skips a scenario in which there was something that could not be asked.
func (p *play) skip(t *testing.T) {
	t.Helper()
	if len(p.skipped) > 0 {
		t.Skip(strings.Join(slices.Sorted(maps.Keys(p.skipped)), "; "))
	}
}

// recover starts over after a dataplane failed.
func (w *world) recover(t *testing.T, m mutant) {
	t.Helper()
	if err := w.become(m); err != nil {
		t.Fatal(err)
	}
}

// faults are the names of those under which a scenario is played; with -short one.
func (s scenario) faults() []string {
	if testing.Short() {
		return s.failsUnder[:1]
	}
	return s.failsUnder
}

// runMutants plays each scenario with the faults under which it says that it fails. It must fail under
// each, and each of its questions must be answered wrong under at least one. Where backends are
// drawn a fault may go unseen by chance, so what was not seen is played again.
func runMutants(t *testing.T, b Backend, all []scenario) {
	w := newWorld(t, b, dialled(all))
	right := unseen{}
	for round := 0; round < rounds && len(all) > 0; round++ {
		for _, m := range mutants {
			w.playMutant(t, m, all, right)
		}
		all = slices.DeleteFunc(slices.Clone(all), func(s scenario) bool { return len(right.of(s)) == 0 })
		if testing.Short() {
			return
		}
	}
	for _, s := range all {
		for _, q := range right.of(s) {
			t.Errorf("%s: answered right under every fault of the scenario: this question cannot fail", q)
		}
	}
}

// rounds is how often to look for a fault: one that shows half the time is then seen in all
// but one run of a million.
const rounds = 20

// unseen tells of each question of a scenario whether it was never answered wrong.
type unseen map[string]map[string]bool

// of lists those that were never answered wrong.
func (u unseen) of(s scenario) []string {
	var list []string
	for _, q := range slices.Sorted(maps.Keys(u[s.title()])) {
		if u[s.title()][q] {
			list = append(list, q)
		}
	}
	return list
}

// note adds what a play saw.
func (u unseen) note(p *play) {
	questions := u[p.scenario.title()]
	if questions == nil {
		questions = map[string]bool{}
		u[p.scenario.title()] = questions
	}
	for q, ok := range p.asked {
		was, asked := questions[q]
		questions[q] = ok && (was || !asked)
	}
}

// playMutant plays the scenarios that fail under a mutant.
func (w *world) playMutant(t *testing.T, m mutant, all []scenario, right unseen) {
	those := slices.DeleteFunc(slices.Clone(all), func(s scenario) bool { return !slices.Contains(s.faults(), m.name) })
	if len(those) == 0 {
		return
	}
	if err := w.become(m); err != nil {
		t.Fatal(err)
	}
	for _, s := range those {
		t.Run(m.name+"/"+s.title(), func(t *testing.T) {
			var p *play
			for round := 0; round < rounds && (p == nil || len(p.findings)+len(p.skipped) == 0); round++ {
				if err := w.sync(); err != nil { // nothing is left of the last one
					t.Fatal(err)
				}
				p = w.play(s)
				right.note(p)
			}
			t.Log(strings.Join(p.findings, "\n"))
			switch {
			case p.broken:
				t.Error("the dataplane failed: nobody could see the fault")
				w.recover(t, m)
			case len(p.findings) == 0:
				p.skip(t)
				t.Error("the scenario does not notice the fault")
			}
		})
	}
}
