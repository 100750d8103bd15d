// Package test holds the tests that look at the repository as a whole: the rules
// of the house (which package may import which, how long a file may be), the
// manifests as kubectl would apply them, and the Corefiles that users bring. It
// must not test what a package can test by itself.
//
// The house rules live in the files house_*_test.go. Each is a function from
// data to findings, run over the tree and over samples that break it: a rule
// that cannot fail is no rule.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// root is the top of the repository, seen from this package.
	root = ".."
	// module is its import path.
	module = "github.com/signpost-dns/signpost"
)

// A pkg is what go list says about one package, with the module's path cut off
// from the packages of ours.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// listPackages runs go list on the whole module.
func listPackages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		p.ImportPath = ours(p.ImportPath)
		for _, list := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for i := range list {
				list[i] = ours(list[i])
			}
		}
		all = append(all, p)
	}
	if len(all) < 2 {
		t.Fatalf("go list found %d packages: this test looks in the wrong place", len(all))
	}
	return all
}

// ours cuts the module's path off: "./internal/cluster" is a package of ours,
// "k8s.io/api/core/v1" is not.
func ours(path string) string {
	if rest, ok := strings.CutPrefix(path, module); ok {
		return "." + rest
	}
	return path
}

// A source is one Go file.
type source struct {
	path string // from the top of the repository, with slashes
	text []byte
	fset *token.FileSet
	file *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// dir is the folder of the package, in the form of pkg.ImportPath.
func (s source) dir() string { return "./" + filepath.ToSlash(filepath.Dir(s.path)) }

func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// lines is how many lines a node spans.
func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.line(n) + 1
}

func parseSource(path string, text []byte) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
	return source{path, text, fset, file}, err
}

// readSources parses every Go file of the repository, whatever its build tags,
// nested modules included.
func readSources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, path := range repositoryFiles(t) {
		if !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata/") {
			continue // go itself does not look into testdata
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSource(path, text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		all = append(all, s)
	}
	if len(all) < 2 {
		t.Fatalf("%d Go files found: this test looks in the wrong place", len(all))
	}
	return all
}

// repositoryFiles lists what belongs to the repository, slash-separated from its
// top: what git tracks or would track, or every file where there is no git (a
// source archive). Binaries of a local build are ignored by git and so by us.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(root + "/.git"); err == nil {
		cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
		cmd.Dir = root
		if out, err := cmd.Output(); err == nil {
			return existing(strings.Split(strings.Trim(string(out), "\x00"), "\x00"))
		}
	}
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(root, path)
			all = append(all, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// existing drops paths that git still tracks but the working tree has lost.
func existing(paths []string) []string {
	var all []string
	for _, path := range paths {
		if info, err := os.Stat(filepath.Join(root, path)); err == nil && !info.IsDir() {
			all = append(all, path)
		}
	}
	return all
}
