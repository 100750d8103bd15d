package test

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules in this file look at shapes that other rules miss: an interface
// written as a struct of functions, a logger written as a function, a struct
// that collects what has no other place, a log key that no query can name.

const (
	maxFunctionFields = 4
	maxFields         = 12
)

// wideStructs lists the structs that have more fields than maxFields, with
// their number today. A number may only fall.
var wideStructs = map[string]int{
	"cmd/forwarder.forwarder":            16,
	"internal/agent.Agent":               24,
	"internal/agent.lane":                13,
	"internal/cluster.Store":             23,
	"internal/dataplane/nftables.layout": 15,
	"internal/dataplane/nftables.table":  13,
	"internal/relay.Relay":               13,
	"internal/source/kube.sink":          13,
	// The stage of the conformance scenarios is test code outside _test.go.
	"internal/dataplane/conformance.world": 17,
}

// levelLoggers lists the packages that declare functions with a log level as a
// string, with their number today. A number may only fall.
var levelLoggers = map[string]int{
	"cmd/forwarder":            2,
	"internal/snapshot":        1,
	"internal/source/kube":     9,
	"internal/source/manifest": 1,
	"plugin/signpost":          1,
}

// tableOfValues matches the names of structs that may have any number of
// fields: options, configuration and metrics are lists by nature.
var tableOfValues = regexp.MustCompile(`(?i)(options|config|settings|metrics)$`)

// isProduct reports whether a file is part of what ships.
func (s source) isProduct() bool {
	top, _, _ := strings.Cut(s.path, "/")
	return !s.isTest() && slices.Contains([]string{"cmd", "internal", "plugin"}, top)
}

// structs calls visit for every named struct of a file, with its name in the
// form of the exceptions: folder, dot, type.
func (s source) structs(visit func(name string, at *ast.TypeSpec, fields *ast.FieldList)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if body, ok := spec.Type.(*ast.StructType); ok {
				visit(path.Dir(s.path)+"."+spec.Name.Name, spec, body.Fields)
			}
		}
		return true
	})
}

func countFields(fields *ast.FieldList, counts func(ast.Expr) bool) int {
	n := 0
	for _, f := range fields.List {
		if counts(f.Type) {
			n += max(1, len(f.Names)) // an embedded field has no name
		}
	}
	return n
}

func isFunction(e ast.Expr) bool {
	_, ok := e.(*ast.FuncType)
	return ok
}

func isField(ast.Expr) bool { return true }

// checkFunctionFields treats a struct of functions as the interface that it is.
func checkFunctionFields(s source) []finding {
	if !s.isProduct() {
		return nil
	}
	var found []finding
	s.structs(func(name string, at *ast.TypeSpec, fields *ast.FieldList) {
		if got, want := countFields(fields, isFunction), maxFunctionFields; got > want {
			found = append(found, finding{s.line(at), fmt.Sprintf("%s has %d function fields, want at most %d", name, got, want)})
		}
	})
	return found
}

func checkStructSize(s source) []finding {
	if !s.isProduct() {
		return nil
	}
	var found []finding
	s.structs(func(name string, at *ast.TypeSpec, fields *ast.FieldList) {
		if got, want := countFields(fields, isField), max(maxFields, wideStructs[name]); got > want && !tableOfValues.MatchString(name) {
			found = append(found, finding{s.line(at), fmt.Sprintf("%s has %d fields, want at most %d", name, got, want)})
		}
	})
	return found
}

// levelLogger returns the function types of a file that take a level and a
// format, both as strings.
func (s source) levelLoggers() []finding {
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncType); ok && f.Params != nil && len(f.Params.List) > 0 {
			var names []string
			for _, name := range f.Params.List[0].Names {
				names = append(names, name.Name)
			}
			if slices.Equal(names, []string{"level", "format"}) {
				found = append(found, finding{s.line(f), "func(level, format string, …): want a *slog.Logger"})
			}
		}
		return true
	})
	return found
}

func checkLevelLogger(s source) []finding {
	if _, excepted := levelLoggers[path.Dir(s.path)]; excepted || !s.isProduct() {
		return nil // TestHouseExceptionsOnlyShrink counts them
	}
	return s.levelLoggers()
}

var (
	logMethods = map[string]int{ // method → the index of its first key
		"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "With": 0,
		"DebugContext": 2, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2, "Log": 3,
	}
	logAttributes = []string{"Any", "Bool", "Duration", "Float64", "Group", "Int", "Int64", "String", "Time", "Uint64"}
	logger        = regexp.MustCompile(`(?i)^(s?log|logger|default|with)$`)
	logKey        = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
)

// checkLogKeys looks at the keys of log/slog calls. It knows loggers and methods
// by their names: go/ast has no types.
func checkLogKeys(s source) []finding {
	if !s.isProduct() {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		for _, key := range logKeys(call) {
			if text, err := strconv.Unquote(key.Value); err == nil && !logKey.MatchString(text) {
				found = append(found, finding{s.line(key), fmt.Sprintf("log key %q, want %s", text, logKey)})
			}
		}
		return true
	})
	return found
}

// logKeys returns the literal keys of a call, if it writes a log line, derives
// a logger or makes an attribute.
func logKeys(call *ast.CallExpr) []*ast.BasicLit {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	receiver := lastName(method.X)
	if receiver == "slog" && slices.Contains(logAttributes, method.Sel.Name) && len(call.Args) > 0 {
		return literals(call.Args[:1])
	}
	first, ok := logMethods[method.Sel.Name]
	if !ok || !logger.MatchString(receiver) || call.Ellipsis.IsValid() {
		return nil
	}
	var keys []ast.Expr
	for i := first; i < len(call.Args); {
		if _, attribute := call.Args[i].(*ast.CallExpr); attribute {
			i++ // slog.String(…): judged as a call of its own
			continue
		}
		keys = append(keys, call.Args[i])
		i += 2
	}
	return literals(keys)
}

// lastName returns the last identifier of a chain: log of a.log, Default of
// slog.Default().
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	}
	return ""
}

func literals(all []ast.Expr) []*ast.BasicLit {
	var found []*ast.BasicLit
	for _, e := range all {
		if l, ok := e.(*ast.BasicLit); ok {
			found = append(found, l)
		}
	}
	return found
}

// TestHouseExceptionsOnlyShrink compares the exceptions of this file with the
// tree: an exception that is larger than needed is a door left open.
func TestHouseExceptionsOnlyShrink(t *testing.T) {
	fields, loggers := map[string]int{}, map[string]int{}
	for _, s := range readSources(t) {
		if !s.isProduct() {
			continue
		}
		s.structs(func(name string, _ *ast.TypeSpec, list *ast.FieldList) {
			fields[name] = countFields(list, isField)
		})
		loggers[path.Dir(s.path)] += len(s.levelLoggers())
	}
	for _, what := range slices.Concat(
		checkExceptions("fields", fields, wideStructs, maxFields),
		checkExceptions("functions with a level as a string", loggers, levelLoggers, 0),
	) {
		t.Error(what)
	}
}

// checkExceptions reports exceptions that differ from what the tree has, and
// those that the limit covers.
func checkExceptions(what string, got, exceptions map[string]int, limit int) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(exceptions)) {
		switch n := got[name]; {
		case n <= limit:
			found = append(found, fmt.Sprintf("%s has %d %s: remove its exception", name, n, what))
		case n < exceptions[name]:
			found = append(found, fmt.Sprintf("%s has %d %s: lower its exception from %d", name, n, what, exceptions[name]))
		case n > exceptions[name]:
			found = append(found, fmt.Sprintf("%s has %d %s, want at most %d", name, n, what, exceptions[name]))
		}
	}
	return found
}

func TestHouseExceptionsCanFail(t *testing.T) {
	exceptions := map[string]int{"a.T": 7}
	for _, c := range []struct {
		name string
		got  map[string]int
		want string
	}{
		{"as listed", map[string]int{"a.T": 7, "b.T": 3}, ""},
		{"grew", map[string]int{"a.T": 8}, "a.T has 8 fields, want at most 7"},
		{"shrank", map[string]int{"a.T": 6}, "lower its exception from 7"},
		{"within the limit", map[string]int{"a.T": 4}, "remove its exception"},
		{"is gone", nil, "remove its exception"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, checkExceptions("fields", c.got, exceptions, 4), c.want) })
	}
}

// shapeSamples are samples for the rules of this file.
func shapeSamples() []sample {
	fields := func(n int, of string) string {
		text := "type T struct {\n"
		for i := range n {
			text += fmt.Sprintf("\tf%d %s\n", i, of)
		}
		return text + "}\n"
	}
	logs := func(call string) string {
		return "package a\n\nimport \"log/slog\"\n\nfunc f(log *slog.Logger) { " + call + " }\n"
	}
	return []sample{
		{"function fields", "five", "internal/a/a.go", "package a\n\n" + fields(5, "func()"), "internal/a.T has 5 function fields"},
		{"function fields", "four", "internal/a/a.go", "package a\n\n" + fields(4, "func()"), ""},
		{"function fields", "a test", "internal/a/a_test.go", "package a\n\n" + fields(5, "func()"), ""},

		{"struct size", "13", "internal/a/a.go", "package a\n\n" + fields(13, "int"), "internal/a.T has 13 fields"},
		{"struct size", "12", "internal/a/a.go", "package a\n\n" + fields(12, "int"), ""},
		{"struct size", "12 in one line and an embedded one", "internal/a/a.go", "package a\n\ntype T struct {\n\ta, b, c, d, e, f, g, h, i, j, k, l int\n\tsync.Mutex\n}\n", "has 13 fields"},
		{"struct size", "options", "internal/a/a.go", "package a\n\n" + strings.Replace(fields(13, "int"), "T", "Options", 1), ""},
		{"struct size", "the harness of a test", "test/a/a.go", "package a\n\n" + fields(13, "int"), ""},

		{"level logger", "a field", "internal/a/a.go", "package a\n\ntype T struct {\n\tLogf func(level, format string, args ...any)\n}\n", "want a *slog.Logger"},
		{"level logger", "a function", "internal/a/a.go", "package a\n\nfunc f(level, format string, args ...any) {}\n", "want a *slog.Logger"},
		{"level logger", "a format alone", "internal/a/a.go", "package a\n\nfunc f(format string, args ...any) {}\n", ""},

		{"log keys", "a blank", "internal/a/a.go", logs(`log.Info("text", "again in", 3)`), `log key "again in"`},
		{"log keys", "the second key", "internal/a/a.go", logs(`log.Info("text", "err", "a b", "retry in", "c")`), `log key "retry in"`},
		{"log keys", "after an attribute", "internal/a/a.go", logs(`log.Info("text", slog.Int("n", 1), "at most", 3)`), `log key "at most"`},
		{"log keys", "of an attribute", "internal/a/a.go", logs(`log.Info("text", slog.Int("n of m", 1))`), `log key "n of m"`},
		{"log keys", "of a derived logger", "internal/a/a.go", logs(`log.With("the node", 1)`), `log key "the node"`},
		{"log keys", "a digit first", "internal/a/a.go", logs(`log.Info("text", "4in6", 3)`), `log key "4in6"`},
		{"log keys", "identifiers", "internal/a/a.go", logs(`log.Info("some text", "retryIn", 3, "err", "some text")`), ""},
		{"log keys", "a field", "internal/a/a.go", logs(`a.Log.Info("text", "again in", 3)`), `log key "again in"`},
		{"log keys", "a logger that another derives", "internal/a/a.go", logs(`log.With("a", 1).Info("text", "again in", 3)`), `log key "again in"`},
		{"log keys", "no logger", "internal/a/a.go", logs(`t.Error("a", "b c")`), ""},
	}
}
