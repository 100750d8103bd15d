package test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines     = 900
	maxFunctionLines = 60
	maxMethods       = 4
)

// A sourceRule looks at one Go file.
type sourceRule struct {
	name    string
	because string
	check   func(source) []finding
}

// A finding is a line of a file and what is wrong there.
type finding struct {
	line int
	what string
}

var sourceRules = []sourceRule{
	{"file length", "a file is read in one sitting", checkFileLength},
	{"function length", "a function that fills the screen decides, renders and applies at once", checkFunctionLength},
	{"interface size", "an interface names what its user needs, not all that the other side can do", checkInterfaceSize},
	{"function fields", "a struct of functions is an interface, and an interface has few methods", checkFunctionFields},
	{"struct size", "a struct that holds everything says about no field who uses it", checkStructSize},
	{"level logger", "log/slog has levels and keys; a second way to log needs a translation at every border", checkLevelLogger},
	{"log keys", "a key with a blank cannot be named in a query for logs", checkLogKeys},
	{"package name", "a name without a subject collects what has none", checkPackageName},
	{"panic", "bad input gets an error that a person can read, and the process lives", checkPanic},
	{"init", "what runs before main cannot be tested or left out; CoreDNS wants it for registration, nothing else does", checkInit},
	{"clock", "a pure package gets the time as an argument, so that a test can", checkClock},
	{"generate", "the tree holds what people write; nothing in it waits for a generator", checkGenerate},
	{"gofmt", "one form for all", checkFormat},
}

func TestSourcesFollowTheRules(t *testing.T) {
	for _, s := range readSources(t) {
		for _, r := range sourceRules {
			for _, f := range r.check(s) {
				t.Errorf("%s:%d: %s (%s)", s.path, f.line, f.what, r.because)
			}
		}
	}
}

func checkFileLength(s source) []finding {
	if n := bytes.Count(s.text, []byte("\n")); n > maxFileLines {
		return []finding{{n, fmt.Sprintf("%d lines, at most %d", n, maxFileLines)}}
	}
	return nil
}

// checkFunctionLength counts a function's lines without the tables in it. Tests
// are exempt: a scenario is told from start to end.
func checkFunctionLength(s source) []finding {
	if s.isTest() {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		name := "function literal"
		switch f := n.(type) {
		case *ast.FuncDecl:
			name = f.Name.Name
		case *ast.FuncLit:
		default:
			return true
		}
		if got := s.lines(n) - s.tableLines(n); got > maxFunctionLines {
			found = append(found, finding{s.line(n), fmt.Sprintf("%s has %d lines, at most %d", name, got, maxFunctionLines)})
		}
		return true
	})
	return found
}

// tableLines counts the lines within a function's list and map literals.
func (s source) tableLines(function ast.Node) int {
	total := 0
	ast.Inspect(function, func(n ast.Node) bool {
		c, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		switch c.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			total += s.lines(c) - 1
			return false
		}
		return true
	})
	return total
}

func checkInterfaceSize(s source) []finding {
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		i, ok := n.(*ast.InterfaceType)
		if !ok {
			return true
		}
		// An embedded interface counts as one: its own size is judged where it
		// is declared. Type sets of constraints have no methods.
		methods := 0
		for _, f := range i.Methods.List {
			switch f.Type.(type) {
			case *ast.FuncType, *ast.Ident, *ast.SelectorExpr:
				methods += max(1, len(f.Names))
			}
		}
		if methods > maxMethods {
			found = append(found, finding{s.line(i), fmt.Sprintf("an interface of %d methods, at most %d", methods, maxMethods)})
		}
		return true
	})
	return found
}

var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc"}

func checkPackageName(s source) []finding {
	name := strings.TrimSuffix(s.file.Name.Name, "_test")
	if slices.Contains(emptyNames, name) || slices.Contains(emptyNames, path.Base(s.dir())) {
		return []finding{{s.line(s.file.Name), "package " + name + " in " + s.dir() + " is named after nothing"}}
	}
	return nil
}

// checkPanic allows a panic in main and in functions whose name starts with
// Must, which say so to their callers.
func checkPanic(s source) []finding {
	if s.isTest() {
		return nil
	}
	var found []finding
	for _, d := range s.file.Decls {
		f, isFunction := d.(*ast.FuncDecl)
		if isFunction && (strings.HasPrefix(strings.ToLower(f.Name.Name), "must") || s.isMain(f)) {
			continue
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				if name, ok := c.Fun.(*ast.Ident); ok && name.Name == "panic" {
					found = append(found, finding{s.line(c), "panic outside main and Must…"})
				}
			}
			return true
		})
	}
	return found
}

func (s source) isMain(f *ast.FuncDecl) bool {
	return s.file.Name.Name == "main" && f.Name.Name == "main" && f.Recv == nil
}

// checkInit allows init in plugins, to register themselves, and in commands.
func checkInit(s source) []finding {
	if s.isTest() || strings.HasPrefix(s.path, "cmd/") {
		return nil
	}
	var found []finding
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || f.Name.Name != "init" {
			continue
		}
		if !strings.HasPrefix(s.path, "plugin/") || !registersOnly(f) {
			found = append(found, finding{s.line(f), "init that does more than to register a plugin"})
		}
	}
	return found
}

// registersOnly reports whether a function's body is nothing but registrations:
// of the plugin with CoreDNS, of its metrics with Prometheus.
func registersOnly(f *ast.FuncDecl) bool {
	for _, statement := range f.Body.List {
		e, ok := statement.(*ast.ExprStmt)
		if !ok {
			return false
		}
		call, ok := e.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Register", "MustRegister"}, selector.Sel.Name) {
			return false
		}
	}
	return true
}

var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// checkClock looks for the clock in packages that the import table calls pure.
func checkClock(s source) []finding {
	if r, ok := roomOf(s.dir()); !ok || !r.pure || s.isTest() {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		if e, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := e.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, e.Sel.Name) {
				found = append(found, finding{s.line(e), "time." + e.Sel.Name + " in a pure package"})
			}
		}
		return true
	})
	return found
}

var generate = regexp.MustCompile(`(?m)^//go:generate\b`)

func checkGenerate(s source) []finding {
	if at := generate.FindIndex(s.text); at != nil {
		return []finding{{1 + bytes.Count(s.text[:at[0]], []byte("\n")), "a go:generate line"}}
	}
	return nil
}

func checkFormat(s source) []finding {
	if formatted, err := format.Source(s.text); err != nil || !bytes.Equal(formatted, s.text) {
		return []finding{{1, "not in the form of gofmt"}}
	}
	return nil
}

// TestEveryPackageSaysWhatItIsFor: one file of each package starts with a
// comment that says more than the name.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, what := range checkPackageDocs(readSources(t)) {
		t.Error(what)
	}
}

func checkPackageDocs(all []source) []string {
	docs := map[string]string{}
	for _, s := range all {
		// The comment of an external test package, x_test, describes tests.
		if strings.HasSuffix(s.file.Name.Name, "_test") {
			continue
		}
		docs[s.dir()] += s.file.Doc.Text()
	}
	var found []string
	for dir, doc := range docs {
		switch words := len(strings.Fields(doc)); {
		case words == 0:
			found = append(found, dir+": no package comment that says what it is for and what it must not do")
		case words < 10:
			found = append(found, fmt.Sprintf("%s: the package comment has %d words; say what it is for and what it must not do", dir, words))
		}
	}
	return sorted(found)
}
