//go:build linux

package conformance

import (
	"embed"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// Backend is a dataplane as these tests need it. Its functions are called on a thread
// in the network namespace of a node.
type Backend struct {
	// Open opens the dataplane. Whether this kernel can run it is for the caller of Run to find out.
	Open func() (dataplane.Dataplane, error)
}

// Run plays all scenarios on a dataplane, and then on mutants of it. It needs
// netlab.Enter in the caller's TestMain.
func Run(t *testing.T, b Backend) {
	all := load(t)
	t.Run("scenarios", func(t *testing.T) { runScenarios(t, b, all) })
	t.Run("mutants", func(t *testing.T) { runMutants(t, b, all) })
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
			p := w.play(s)
			for _, f := range p.findings {
				t.Error(f)
			}
			if p.broken {
				w.recover(t)
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
func (w *world) recover(t *testing.T) {
	t.Helper()
	if err := w.become(mutant{}); err != nil {
		t.Fatal(err)
	}
}

// runMutants plays each scenario with the faults under which it says that it fails. It must fail under
// each, and each of its questions must be answered wrong under at least one.
func runMutants(t *testing.T, b Backend, all []scenario) {
	w := newWorld(t, b, dialled(all))
	right := map[string]bool{} // questions that were never answered wrong
	for _, s := range all {
		for _, name := range s.failsUnder {
			t.Run(name+"/"+s.title(), func(t *testing.T) {
				if err := w.become(mutantOf(name)); err != nil {
					t.Fatal(err)
				}
				p := w.play(s)
				for q, ok := range p.asked {
					was, asked := right[q]
					right[q] = ok && (was || !asked)
				}
				if len(p.findings) == 0 {
					t.Errorf("the scenario does not notice the fault")
				}
				t.Log(strings.Join(p.findings, "\n"))
			})
		}
	}
	for _, q := range slices.Sorted(maps.Keys(right)) {
		if right[q] {
			t.Errorf("%s: answered right under every fault of the scenario: this question cannot fail", q)
		}
	}
}
