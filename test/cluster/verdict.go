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

// failures prints every spec that did not pass on a side, with what each side has to say about it.
func failures(sides []side) string {
	var b strings.Builder
	for _, s := range sides {
		for _, failure := range s.suite {
			fmt.Fprintf(&b, "\n%s: the suite itself\n%s\n", s.name, excerpt(failure))
		}
	}
	for _, name := range specNames(sides) {
		var lines []string
		bad := false
		for _, s := range sides {
			o, ran := s.find(name)
			switch {
			case !ran:
			case o.passed():
				lines = append(lines, fmt.Sprintf("  %s: pass", s.name))
			default:
				bad = true
				lines = append(lines, fmt.Sprintf("  %s: %s after %s", s.name, o.word(), o.took.Round(100*time.Millisecond)), excerpt(o.why))
			}
		}
		if bad {
			fmt.Fprintf(&b, "\n%s\n%s\n", name, strings.Join(lines, "\n"))
		}
	}
	return b.String()
}

// excerpt is the begin of a text, moved to the right: some specs print whole objects.
func excerpt(text string) string {
	const mostLines, mostRunes = 12, 240
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > mostLines {
		lines = append(lines[:mostLines], "…")
	}
	for i, line := range lines {
		if r := []rune(line); len(r) > mostRunes {
			lines[i] = string(r[:mostRunes]) + "…"
		}
	}
	return "    " + strings.Join(lines, "\n    ")
}
