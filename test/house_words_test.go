package test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plainRooms are the packages whose comments and texts are in plain words. Add a
// package when it is.
var plainRooms = []string{
	"internal/agent", "internal/conntrack", "internal/config", "internal/healthcheck", "internal/loglimit", "internal/node", "internal/relay",
	"internal/source", "internal/source/kube", "internal/source/manifest", "internal/traffic",
}

// plainExceptions are files of these packages that still wait for it.
var plainExceptions = []string{
	"internal/conntrack/stale.go",
}

// A word is one that this repository does not use as a technical term.
type word struct {
	pattern *regexp.Regexp
	instead string
}

var words = []word{
	{regexp.MustCompile(`(?i)\bnobody\b`), "the subject that is meant, or \"no client\", \"no process\""},
	{regexp.MustCompile(`(?i)\b(told|tells? (people|of|from|the store))\b`), "reported, logged, distinguished"},
	{regexp.MustCompile(`(?i)\b(led|leads? (it|them)) (by|until)\b|\bIPVS leads\b`), "handled"},
	{regexp.MustCompile(`(?i)\bdialled\b`), "the original destination"},
	{regexp.MustCompile(`(?i)\bpatience\b`), "timeout"},
	{regexp.MustCompile(`(?i)\bbut for\b`), "except"},
	{regexp.MustCompile(`(?i)\b(is|are) (another|others)\b`), "changed, differs"},
	{regexp.MustCompile(`(?i)\b(begin|begins|began|made|built|written) anew\b`), "restarts, recreated, rebuilt"},
	{regexp.MustCompile(`(?i)\bgoes (on|all the same|out|at once|before)\b|\bgo (on|all the same)\b`), "continues, takes precedence"},
	{regexp.MustCompile(`(?i)\bit is not known\b`), "unknown"},
	{regexp.MustCompile(`(?i)\bno more\b|\bany more\b`), "no longer, or a statement about now"},
	{regexp.MustCompile(`: expected `), "want"},
}

// TestHouseWords reads the comments and texts of the packages that are in plain
// words, so that they stay so.
func TestHouseWords(t *testing.T) {
	for _, s := range readSources(t) {
		for _, f := range checkWords(s) {
			t.Errorf("%s:%d: %s", s.path, f.line, f.what)
		}
	}
}

func checkWords(s source) []finding {
	if !s.isProduct() || !slices.Contains(plainRooms, path.Dir(s.path)) || slices.Contains(plainExceptions, s.path) {
		return nil
	}
	var found []finding
	check := func(at ast.Node, text string) {
		for _, w := range words {
			if where := w.pattern.FindStringIndex(text); where != nil {
				line := s.line(at) + strings.Count(text[:where[0]], "\n")
				found = append(found, finding{line, fmt.Sprintf("%q is no technical term here: %s", text[where[0]:where[1]], w.instead)})
			}
		}
	}
	for _, group := range s.file.Comments {
		check(group, group.Text())
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
			check(text, text.Value)
		}
		return true
	})
	return found
}

func TestHouseWordsCanFail(t *testing.T) {
	for _, c := range []struct{ name, path, text, want string }{
		{"a comment", "internal/agent/a.go", "package agent\n\n// f is f.\n// Nobody is told.\nfunc f() {}\n", `"Nobody" is no technical term`},
		{"a text", "internal/agent/a.go", "package agent\n\nvar x = \"port: expected 80\"\n", `": expected " is no technical term`},
		{"plain words", "internal/agent/a.go", "package agent\n\n// f tells time and settles on a port, such as a leader does.\nfunc f() {}\n", ""},
		{"a test", "internal/agent/a_test.go", "package agent\n\n// nobody\n", ""},
		{"a package that waits", "internal/netlab/a.go", "package netlab\n\n// nobody\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := parseSource(c.path, []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, f := range checkWords(s) {
				found = append(found, f.what)
			}
			if c.want != "" && len(found) > 1 {
				found = found[:1] // one text may break two rules
			}
			expect(t, found, c.want)
		})
	}
}
