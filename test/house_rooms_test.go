package test

import (
	"bytes"
	"flag"
	"fmt"
	"go/scanner"
	"go/token"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/rooms.txt from what the tree has now")

const (
	roomsFile       = "testdata/rooms.txt"
	maxPackageFiles = 15
)

const roomsHeader = `# Product code by room (one folder, one package), tests left out:
#   lines   lines of code, without blank lines and comments. A room may not exceed its line.
#   files   Go files. A package has at most 15; a room that has more may only lose files.
#   target  the lines that the layout plans for this room ("-": none yet).
# go test ./test -run HouseRooms -update writes lines and files and keeps the targets.
# The commit that raises a line says why.
`

// A roomSize is one line of roomsFile.
type roomSize struct {
	name         string
	lines, files int
	target       string
}

// TestHouseRooms compares the size of every package with the table in the
// repository. Growth is a decision, so somebody has to write it down.
func TestHouseRooms(t *testing.T) {
	text, err := os.ReadFile(roomsFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseRooms(text)
	if err != nil {
		t.Fatalf("%s: %v", roomsFile, err)
	}
	got := measureRooms(readSources(t))
	if *update {
		for _, what := range checkFileCounts(got, want) {
			t.Error(what)
		}
		if err := os.WriteFile(roomsFile, []byte(formatRooms(withTargets(got, want))), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, what := range append(checkRooms(got, want), checkFileCounts(got, want)...) {
		t.Error(what)
	}
}

// measureRooms counts the product code of every package below cmd, internal and
// plugin. The sizes are sorted by name.
func measureRooms(all []source) []roomSize {
	sizes := map[string]roomSize{}
	for _, s := range all {
		if !s.isProduct() {
			continue
		}
		r := sizes[path.Dir(s.path)]
		r.name, r.target = path.Dir(s.path), "-"
		r.lines += codeLines(s.text)
		r.files++
		sizes[r.name] = r
	}
	return slices.SortedFunc(maps.Values(sizes), func(a, b roomSize) int { return strings.Compare(a.name, b.name) })
}

// codeLines counts the lines of a Go file on which a token stands. It leaves
// out blank lines, those of multi-line strings included, and comments.
func codeLines(text []byte) int {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0) // without ScanComments: comments are no tokens
	blank := map[int]bool{}
	for i, line := range bytes.Split(text, []byte("\n")) {
		blank[i+1] = len(bytes.TrimSpace(line)) == 0
	}
	code := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return len(code)
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue // inserted by the scanner at the end of a line
		}
		first := file.Line(pos)
		for line := first; line <= first+strings.Count(literal, "\n"); line++ {
			if !blank[line] {
				code[line] = true
			}
		}
	}
}

// checkRooms reports rooms that are larger than their line in the table, rooms
// without a line and lines without a room.
func checkRooms(got, want []roomSize) []string {
	var found []string
	for _, r := range got {
		i := slices.IndexFunc(want, func(w roomSize) bool { return w.name == r.name })
		switch {
		case i < 0:
			found = append(found, fmt.Sprintf("%s has no line in %s; run this test with -update", r.name, roomsFile))
		case r.lines > want[i].lines:
			found = append(found, fmt.Sprintf("%s grew: got %d lines of code, want at most %d (target %s); make it smaller, or run this test with -update and say why in the commit",
				r.name, r.lines, want[i].lines, want[i].target))
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(r roomSize) bool { return r.name == w.name }) {
			found = append(found, fmt.Sprintf("%s has a line in %s, but no code; run this test with -update", w.name, roomsFile))
		}
	}
	return found
}

// checkFileCounts reports packages with too many files. A package that has more
// than the limit in the table may keep as many; -update does not raise that.
func checkFileCounts(got, want []roomSize) []string {
	var found []string
	for _, r := range got {
		limit := maxPackageFiles
		for _, w := range want {
			if w.name == r.name {
				limit = max(limit, w.files)
			}
		}
		if r.files > limit {
			found = append(found, fmt.Sprintf("%s: got %d files, want at most %d: a package is a set of nouns that a reader can keep in mind", r.name, r.files, limit))
		}
	}
	return found
}

// withTargets returns the measured sizes with the targets of the table. It never
// raises the number of files of a package above the limit.
func withTargets(got, want []roomSize) []roomSize {
	all := slices.Clone(got)
	for i := range all {
		limit := maxPackageFiles
		for _, w := range want {
			if w.name == all[i].name {
				all[i].target = w.target
				limit = max(limit, w.files)
			}
		}
		all[i].files = min(all[i].files, limit)
	}
	return all
}

func parseRooms(text []byte) ([]roomSize, error) {
	var all []roomSize
	for i, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") || fields[0] == "room" {
			continue
		}
		var r roomSize
		if n, err := fmt.Sscan(line, &r.name, &r.lines, &r.files, &r.target); err != nil {
			return nil, fmt.Errorf("parse line %d: got %d fields of %q, want room, lines, files, target: %w", i+1, n, line, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func formatRooms(all []roomSize) string {
	var b strings.Builder
	b.WriteString(roomsHeader)
	fmt.Fprintf(&b, "%-32s %6s %6s %7s\n", "room", "lines", "files", "target")
	for _, r := range all {
		fmt.Fprintf(&b, "%-32s %6d %6d %7s\n", r.name, r.lines, r.files, r.target)
	}
	return b.String()
}

func TestHouseRoomRulesCanFail(t *testing.T) {
	want := []roomSize{{"cmd/a", 100, 3, "80"}, {"internal/b", 50, 20, "-"}}
	now := func(lines, files int) []roomSize {
		return []roomSize{{"cmd/a", lines, 3, "-"}, {"internal/b", 50, files, "-"}}
	}
	for _, c := range []struct {
		name  string
		found []string
		want  string
	}{
		{"as in the table", checkRooms(now(100, 20), want), ""},
		{"smaller", checkRooms(now(90, 20), want), ""},
		{"larger", checkRooms(now(101, 20), want), "cmd/a grew: got 101 lines of code, want at most 100 (target 80)"},
		{"a new room", checkRooms(append(now(100, 20), roomSize{"internal/c", 1, 1, "-"}), want), "internal/c has no line"},
		{"a room that is gone", checkRooms(now(100, 20)[:1], want), "internal/b has a line"},
		{"16 files", checkFileCounts([]roomSize{{"cmd/a", 1, 16, "-"}}, want), "got 16 files, want at most 15"},
		{"15 files", checkFileCounts([]roomSize{{"cmd/a", 1, 15, "-"}}, want), ""},
		{"an exception keeps its files", checkFileCounts(now(100, 20), want), ""},
		{"an exception grows", checkFileCounts(now(100, 21), want), "got 21 files, want at most 20"},
		{"an update does not raise an exception", checkFileCounts(now(100, 21), withTargets(now(100, 21), want)), "got 21 files, want at most 20"},
		{"an exception that shrank grows again", checkFileCounts(now(100, 19), withTargets(now(100, 18), want)), "got 19 files, want at most 18"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, c.found, c.want) })
	}
	again, err := parseRooms([]byte(formatRooms(want)))
	if err != nil || !slices.Equal(again, want) {
		t.Errorf("parse of the formatted table: got %v, %v, want %v", again, err, want)
	}
	if _, err := parseRooms([]byte("cmd/a 100 3\n")); err == nil {
		t.Error("parse of a line without target: got no error")
	}
}

func TestCodeLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"package clause", "package a\n", 1},
		{"comments and blanks", "// Package a.\npackage a\n\n/* one\ntwo */\n", 1},
		{"a comment behind code", "package a // here\n\nvar x = 1 /* and\nhere */\n", 2},
		{"a function", "package a\n\nfunc f() {\n\n\tg()\n}\n", 4},
		{"a string of four lines, one blank", "package a\n\nvar x = `1\n\n// 3\n`\n", 4},
		{"no newline at the end", "package a\nvar x = 1", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := codeLines([]byte(c.text)); got != c.want {
				t.Errorf("got %d lines, want %d", got, c.want)
			}
		})
	}
}
