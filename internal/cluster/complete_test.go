package cluster

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestEverythingExportedIsTested looks for names that no test of the package
// mentions: functions, methods, types, constants and fields of structs.
func TestEverythingExportedIsTested(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]token.Position{}
	mentioned := map[string]bool{}
	set := token.NewFileSet()
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") {
			continue
		}
		file, err := parser.ParseFile(set, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		test := strings.HasSuffix(f.Name(), "_test.go")
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && test {
				mentioned[id.Name] = true
			}
			return true
		})
		if !test {
			for _, id := range declared(file) {
				if id.IsExported() {
					exported[id.Name] = set.Position(id.Pos())
				}
			}
		}
	}
	if len(exported) < 50 {
		t.Fatalf("only %d exported names found", len(exported))
	}
	for name, where := range exported {
		if !mentioned[name] {
			t.Errorf("%v: no test mentions %s", where, name)
		}
	}
}

// declared lists the names that a file declares at its top, with fields and methods.
func declared(file *ast.File) (ids []*ast.Ident) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			ids = append(ids, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					ids = append(ids, spec.Names...)
				case *ast.TypeSpec:
					ids = append(ids, spec.Name)
					if st, ok := spec.Type.(*ast.StructType); ok {
						for _, field := range st.Fields.List {
							ids = append(ids, field.Names...)
						}
					}
				}
			}
		}
	}
	return ids
}
