package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// listFile holds the specs that pass, a line each. It may only grow.
const listFile = "testdata/conformance.txt"

// readList returns the specs of the list, sorted.
func readList(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the list of the specs that pass: %w", err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all, nil
}

const listHead = `# Specs of upstream's end-to-end tests that pass on a cluster with Signpost in it.
# A listed spec that fails is an error; ` + "`go -C test/cluster run . conformance --write`" + ` adds those that pass.
`

// writeList writes the list.
func writeList(file string, all []string) error {
	all = slices.Compact(slices.Sorted(slices.Values(all)))
	if err := os.WriteFile(file, []byte(listHead+strings.Join(all, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the list of the specs that pass: %w", err)
	}
	return nil
}

// verdict is what a run says about the list.
type verdict struct {
	broken []outcome // listed, ran and did not pass
	gone   []string  // listed, and no spec of the suite
	gained []string  // not listed, and passed
}

// judge compares a run with the list. A listed spec that was not selected says nothing.
func judge(listed []string, all outcomes) verdict {
	var v verdict
	for _, name := range listed {
		if !all.known[name] {
			v.gone = append(v.gone, name)
		}
		if o, ran := all.find(name); ran && !o.passed() {
			v.broken = append(v.broken, o)
		}
	}
	for _, o := range all.ran {
		if _, found := slices.BinarySearch(listed, o.name); o.passed() && !found {
			v.gained = append(v.gained, o.name)
		}
	}
	return v
}

// err is nil if the list holds.
func (v verdict) err() error {
	var lines []string
	for _, o := range v.broken {
		lines = append(lines, "listed, and it does not pass: "+o.name)
	}
	for _, name := range v.gone {
		lines = append(lines, "listed, and no spec of the suite: "+name)
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%s and the run do not agree:\n%s", listFile, strings.Join(lines, "\n"))
}

// side is one of the two that are judged.
type side struct {
	name string
	outcomes
}

// table prints the specs that ran, a line each, with how they ended on every side.
func table(sides []side) string {
	var b strings.Builder
	for _, s := range sides {
		fmt.Fprintf(&b, "%-16s", s.name)
	}
	b.WriteString("spec\n")
	for _, name := range specNames(sides) {
		for _, s := range sides {
			cell := "-"
			if o, ran := s.find(name); ran {
				cell = fmt.Sprintf("%s %5.1fs", o.word(), o.took.Seconds())
			}
			fmt.Fprintf(&b, "%-16s", cell)
		}
		b.WriteString(strings.TrimPrefix(name, "[sig-network] ") + "\n")
	}
	for _, s := range sides {
		fmt.Fprintf(&b, "%-16s", fmt.Sprintf("%d of %d", s.passed(), len(s.ran)))
	}
	b.WriteString("pass\n")
	return b.String()
}

func specNames(sides []side) []string {
	seen := map[string]bool{}
	var names []string
	for _, s := range sides {
		for _, o := range s.ran {
			if !seen[o.name] {
				seen[o.name] = true
				names = append(names, o.name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// failures prints what did not pass, with the reason and what the others say to the same spec.
func failures(sides []side) string {
	var b strings.Builder
	for _, s := range sides {
		for _, failure := range s.suite {
			fmt.Fprintf(&b, "\n%s: the suite itself: %s\n", s.name, indent(failure, 20))
		}
		for _, o := range s.ran {
			if o.passed() {
				continue
			}
			fmt.Fprintf(&b, "\n%s: %s: %s (%s)\n", s.name, o.word(), o.name, o.took.Round(time.Millisecond))
			for _, other := range sides {
				if p, ran := other.find(o.name); ran && other.name != s.name {
					fmt.Fprintf(&b, "    (%s: %s)\n", other.name, p.word())
				}
			}
			b.WriteString(indent(o.why, 20) + "\n")
		}
	}
	return b.String()
}

// indent moves a text to the right and ends it after some lines.
func indent(text string, most int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > most {
		lines = append(lines[:most], "…")
	}
	return "    " + strings.Join(lines, "\n    ")
}
