package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// topLevel is all that may stand at the top of the repository, beside dotfiles.
var topLevel = []string{
	"Corefile.example", "README.md", "cmd", "go.mod", "go.sum", "internal", "manifests", "plugin", "test",
}

func TestTopLevelIsFixed(t *testing.T) {
	paths := repositoryFiles(t)
	for _, what := range checkTopLevel(paths) {
		t.Error(what)
	}
	// The other way round: what a user expects there is there.
	for _, name := range topLevel {
		there := func(path string) bool { return path == name || strings.HasPrefix(path, name+"/") }
		if !slices.ContainsFunc(paths, there) {
			t.Errorf("%s is missing", name)
		}
	}
}

func checkTopLevel(paths []string) []string {
	found := map[string]bool{}
	for _, path := range paths {
		name, _, _ := strings.Cut(path, "/")
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			found[name+" does not belong to the top of the repository; it holds "+strings.Join(topLevel, " ")+" and dotfiles"] = true
		}
	}
	var all []string
	for what := range found {
		all = append(all, what)
	}
	return sorted(all)
}

func TestModuleReplacesNothing(t *testing.T) {
	data, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range checkModule(data) {
		t.Error(what)
	}
}

// checkModule: whoever compiles the plugin into a CoreDNS of their own requires
// this module, and Go then ignores its replace and exclude lines.
func checkModule(data []byte) []string {
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	if f.Module.Mod.Path != module {
		found = append(found, "the module is called "+f.Module.Mod.Path+", expected "+module)
	}
	for _, r := range f.Replace {
		found = append(found, "go.mod replaces "+r.Old.Path+": users of the module would not get that")
	}
	for _, e := range f.Exclude {
		found = append(found, "go.mod excludes "+e.Mod.Path+": users of the module would not get that")
	}
	return found
}

// A textRule looks for what must stand in no file of the repository.
type textRule struct {
	name    string
	pattern *regexp.Regexp
	because string
}

// The patterns are spelt so that they do not match themselves.
var textRules = []textRule{
	{
		"registry", regexp.MustCompile(`\b(gh[c]r\.io|gc[r]\.io|qua[y]\.io|docke[r]\.io|registr[y]\.k8s\.io|[a-z0-9.-]*azurec[r]\.io|public\.ec[r]\.aws)\b`),
		"where an image is pulled from is decided by the cluster's owner, in an images: block",
	},
	{
		"machine", regexp.MustCompile(`(?m)(^|[\s"'` + "`" + `(=:])/(work|home|Users)/[a-z]`),
		"a path of one developer's machine is a path of no other",
	},
}

func TestNoFileNamesWhatOthersDoNotHave(t *testing.T) {
	for _, path := range repositoryFiles(t) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range checkText(path, text) {
			t.Error(what)
		}
	}
}

func checkText(path string, text []byte) []string {
	var found []string
	for _, r := range textRules {
		if at := r.pattern.FindIndex(text); at != nil {
			line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
			found = append(found, fmt.Sprintf("%s:%d: %q: %s", path, line, bytes.TrimSpace(text[at[0]:at[1]]), r.because))
		}
	}
	return found
}

func TestTreeRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		found []string
		want  string
	}{
		{"a strange file", checkTopLevel([]string{"Makefile", "go.mod"}), "Makefile does not belong"},
		{"a strange folder", checkTopLevel([]string{"pkg/a.go", "pkg/b.go"}), "pkg does not belong"},
		{"dotfiles and known names", checkTopLevel([]string{".ci/run", ".gitignore", "cmd/a/main.go", "README.md"}), ""},
		{"a replaced module", checkModule([]byte("module " + module + "\n\nreplace a.b/c => ../c\n")), "replaces a.b/c"},
		{"an excluded module", checkModule([]byte("module " + module + "\n\nexclude a.b/c v1.0.0\n")), "excludes a.b/c"},
		{"another name", checkModule([]byte("module a.b/c\n")), "is called a.b/c"},
		{"a plain module", checkModule([]byte("module " + module + "\n\ngo 1.26.0\n")), ""},
		{"a registry", checkText("a.yaml", []byte("x\nimage: qua"+"y.io/a/b\n")), "a.yaml:2: "},
		{"an image", checkText("a.yaml", []byte("image: signpost/coredns:dev\n")), ""},
		{"a machine's path", checkText("a.md", []byte("see /hom"+"e/jo/x\n")), "one developer's machine"},
		{"a path in a URL", checkText("a.md", []byte("example.org/home/jo\n")), ""},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, c.found, c.want) })
	}
}
