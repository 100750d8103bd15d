package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// spec is a spec as Ginkgo reports it.
func spec(name string, state types.SpecState, attempts int) types.SpecReport {
	return types.SpecReport{
		ContainerHierarchyTexts: []string{"[sig-network] Services"}, LeafNodeText: name, LeafNodeType: types.NodeTypeIt,
		State: state, NumAttempts: attempts, RunTime: 1500 * time.Millisecond,
	}
}

func failed(s types.SpecReport, why string) types.SpecReport {
	s.Failure = types.Failure{Message: why}
	return s
}

// reportOf is a run of Ginkgo, read back from its file.
func reportOf(t *testing.T, r types.Report) outcomes {
	t.Helper()
	text, err := json.Marshal([]types.Report{r})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), reportFile)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestReadReport(t *testing.T) {
	all := reportOf(t, types.Report{
		SpecialSuiteFailureReasons: []string{"Interrupted by User"},
		SpecReports: types.SpecReports{
			failed(types.SpecReport{LeafNodeType: types.NodeTypeSynchronizedBeforeSuite, State: types.SpecStateFailed}, "no nodes"),
			{LeafNodeType: types.NodeTypeReportAfterSuite, State: types.SpecStatePassed},
			spec("works", types.SpecStatePassed, 1),
			failed(spec("breaks", types.SpecStateFailed, 1), "refused"),
			failed(spec("takes too long", types.SpecStateTimedout, 1), "an hour"),
			failed(spec("wants a cloud", types.SpecStateSkipped, 1), "no cloud"),
			spec("is not selected", types.SpecStateSkipped, 0),
		},
	})
	var got []string
	for _, o := range all.ran {
		got = append(got, strings.TrimPrefix(o.name, "[sig-network] Services ")+": "+o.word()+" "+o.took.String()+" "+o.why)
	}
	want := []string{"breaks: FAIL 1.5s refused", "takes too long: FAIL 1.5s an hour", "wants a cloud: skip 1.5s no cloud", "works: pass 1.5s "}
	if !slices.Equal(got, want) {
		t.Errorf("ran:\ngot  %q\nwant %q", got, want)
	}
	if len(all.known) != 5 || !all.known["[sig-network] Services is not selected"] {
		t.Errorf("known: got %v, want all five specs", all.known)
	}
	if len(all.suite) != 2 || all.suite[0] != "Interrupted by User" || !strings.Contains(all.suite[1], "no nodes") {
		t.Errorf("suite: got %q, want the interruption and what failed before the specs", all.suite)
	}
	if all.passed() != 1 {
		t.Errorf("%d passed, want 1", all.passed())
	}
	if _, found := all.find("[sig-network] Services is not selected"); found {
		t.Error("a spec that did not run is found")
	}
}

func TestReadReportFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), reportFile)
	if _, err := readReport(file); err == nil {
		t.Error("no file: no error")
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("half a file: got error %v, want one that names it", err)
	}
}

func TestJudge(t *testing.T) {
	const prefix = "[sig-network] Services "
	all := reportOf(t, types.Report{SpecReports: types.SpecReports{
		spec("a", types.SpecStatePassed, 1),
		failed(spec("b", types.SpecStateFailed, 1), "why"),
		spec("c", types.SpecStateSkipped, 0),
		spec("d", types.SpecStateSkipped, 1),
	}})
	for _, tt := range []struct {
		name   string
		listed []string
		gained string
		err    string // what it must contain; empty: none
	}{
		{name: "nothing is listed", gained: prefix + "a"},
		{name: "what passes", listed: []string{prefix + "a"}},
		{name: "what failed", listed: []string{prefix + "a", prefix + "b"}, err: "does not pass: " + prefix + "b"},
		{name: "what skipped itself", listed: []string{prefix + "a", prefix + "d"}, err: "does not pass: " + prefix + "d"},
		{name: "what did not run", listed: []string{prefix + "a", prefix + "c"}},
		{name: "what does not exist", listed: []string{prefix + "a", prefix + "x"}, err: "no spec of the suite: " + prefix + "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := judge(tt.listed, all)
			if got := strings.Join(v.gained, ","); got != tt.gained {
				t.Errorf("gained: got %s, want %s", got, tt.gained)
			}
			err := v.err()
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error: got %v, want %q", err, tt.err)
			}
		})
	}
}

func TestTables(t *testing.T) {
	ours := reportOf(t, types.Report{SpecReports: types.SpecReports{
		spec("a", types.SpecStatePassed, 1), failed(spec("b", types.SpecStateFailed, 1), "one\ntwo"),
	}})
	theirs := reportOf(t, types.Report{SpecReports: types.SpecReports{
		spec("b", types.SpecStatePassed, 1), spec("c", types.SpecStatePassed, 1),
	}})
	sides := []side{{"signpost", ours}, {"peer", theirs}}
	want := `signpost        peer            spec
pass   1.5s     -               Services a
FAIL   1.5s     pass   1.5s     Services b
-               pass   1.5s     Services c
1 of 2          2 of 2          pass
`
	if got := table(sides); got != want {
		t.Errorf("table: got\n%swant\n%s", got, want)
	}
	want = `
[sig-network] Services b
  signpost: FAIL after 1.5s
    one
    two
  peer: pass
`
	if got := failures(sides); got != want {
		t.Errorf("failures: got\n%swant\n%s", got, want)
	}
}

func TestFailuresOfTheSuite(t *testing.T) {
	sides := []side{{"signpost", outcomes{suite: []string{"no nodes"}}}}
	if got, want := failures(sides), "\nsignpost: the suite itself\n    no nodes\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("x", 1000) + strings.Repeat("\nline", 50)
	got := strings.Split(excerpt(long), "\n")
	if len(got) != 13 || len(got[0]) > 300 || got[12] != "    …" {
		t.Errorf("got %d lines, the first of %d bytes, the last %q", len(got), len(got[0]), got[len(got)-1])
	}
}

func TestList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := writeList(file, []string{"b", "a", "b"}); err != nil {
		t.Fatal(err)
	}
	got, err := readList(file)
	if err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q (%v), want each once, in order", got, err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), "#") {
		t.Errorf("the file does not say what it is: %q (%v)", text, err)
	}
}

// TestListedSpecs checks the list of the repository: it is in the form that --write gives it.
func TestListedSpecs(t *testing.T) {
	all, err := readList(listFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "list")
	if err := writeList(file, all); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(listFile); err != nil || string(got) != string(want) {
		t.Errorf("%s is not as `conformance --write` writes it (%v)", listFile, err)
	}
}

// TestCertifiedSpecsAreListed checks that none of the 23 is given up.
func TestCertifiedSpecsAreListed(t *testing.T) {
	all, err := readList(listFile)
	if err != nil {
		t.Fatal(err)
	}
	certified := regexp.MustCompile(conformance23.focus)
	n := 0
	for _, name := range all {
		if certified.MatchString(name) {
			n++
		}
	}
	if n != 23 {
		t.Errorf("%d of the 23 Conformance specs of Services and DNS are listed", n)
	}
}

func TestSelection(t *testing.T) {
	got := strings.Join(conformanceOptions{focus: "some"}.selection().arguments("/programs", "/kubeconfig", "/out", 3), " ")
	for _, want := range []string{"/programs/ginkgo --procs=3 ", " --focus=some ", " --output-dir=/out ", " /programs/e2e.test -- ", "--kubeconfig=/kubeconfig", "Conformance && !Serial"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "--skip") {
		t.Errorf("got %s, which skips what is selected", got)
	}
	all := strings.Join(conformanceOptions{all: true}.selection().arguments("/programs", "/kubeconfig", "/out", 0), " ")
	if !strings.Contains(all, "--skip="+allOfNetwork.skip) || strings.Contains(all, "--procs=0") {
		t.Errorf("got %s", all)
	}
}

func TestSpecProgress(t *testing.T) {
	out := new(syncBuffer)
	p := newCounter(out, "x", "specs", readSpec)
	for _, line := range []string{"noise", "• [1.2 seconds]", "[sig-network] Services a", "/some/file.go:1", "• [FAILED] [3.0 seconds]", "[sig-network] Services b", "noise"} {
		p.add(line)
	}
	if got := p.line(); !strings.HasSuffix(got, "   2 specs  [sig-network] Services b") {
		t.Errorf("got %q", got)
	}
	p.finish(true)
}
