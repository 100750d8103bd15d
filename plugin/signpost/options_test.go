package signpost

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// optionTest is the block of one stanza; each file of options has its rows.
type optionTest struct {
	name  string
	block string        // the lines between the braces
	want  func(*stanza) // what they change of the defaults; nil: nothing
	err   string        // a part of the error; empty: none
}

var optionTests = slices.Concat(sourceOptionTests, selectOptionTests, answerOptionTests, staleOptionTests, outsideOptionTests, clustersetOptionTests)

func defaults(change func(*stanza)) *stanza {
	s := &stanza{zones: []string{"cluster.local."}, settings: settings{ttl: 5}, startupTimeout: 5 * time.Second}
	if change != nil {
		change(s)
	}
	return s
}

// parseText reads a stanza in a server block of the zone example.org.
func parseText(corefile string) (*stanza, error) {
	c := caddy.NewTestController("dns", corefile)
	c.ServerBlockKeys = []string{"example.org"}
	return parse(c)
}

// wantStanza compares what was read.
func wantStanza(t *testing.T, corefile string, want *stanza, wantErr string) {
	t.Helper()
	got, err := parseText(corefile)
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Fatalf("error %v, want one with %q", err, wantErr)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(stanza{}, settings{}, outsideSettings{}, feedConfig{}, snapshotConfig{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("stanza (-want +got):\n%s", diff)
	}
}

func TestZones(t *testing.T) {
	zones := func(zones ...string) func(*stanza) { return func(s *stanza) { s.zones = zones } }
	for _, tt := range []struct {
		name, corefile string
		want           func(*stanza)
		err            string
	}{
		{"no block", `signpost cluster.local`, nil, ""},
		{"empty block", "signpost cluster.local {\n}", nil, ""},
		{"zones of the server block", `signpost`, zones("example.org."), ""},
		{"reverse by CIDR", `signpost cluster.local 10.0.0.0/16`, zones("cluster.local.", "0.10.in-addr.arpa."), ""},
		{"upper case", `signpost Cluster.LOCAL`, nil, ""},
		{"only reverse", `signpost in-addr.arpa`, nil, "want at least one that is not a reverse zone"},
		{"only a CIDR", `signpost 10.0.0.0/9`, nil, "zones 10.0.0.0/9: want at least one that is not a reverse zone"},
		{"a zone without room", `signpost ` + strings.Repeat("long-label.", 22) + "a", nil, "want at most 242 characters"},
		{"a long zone", `signpost ` + strings.Repeat("long-label.", 21) + "a", zones(strings.Repeat("long-label.", 21) + "a."), ""},
		{"twice", "signpost cluster.local\nsignpost cluster.local", nil, "once per Server Block"},
		{"unknown", "signpost cluster.local {\n resyncperiod 5m\n}", nil, `unknown option "resyncperiod": want one of apex, apiserver_burst, `},
	} {
		t.Run(tt.name, func(t *testing.T) { wantStanza(t, tt.corefile, defaults(tt.want), tt.err) })
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range optionTests {
		t.Run(tt.name, func(t *testing.T) {
			wantStanza(t, "signpost cluster.local {\n"+tt.block+"\n}", defaults(tt.want), tt.err)
		})
	}
	for name := range options {
		for _, kind := range []struct {
			name string
			fits func(optionTest) bool
		}{
			{"valid", func(tt optionTest) bool { return tt.err == "" }},
			{"invalid", func(tt optionTest) bool { return strings.Contains(tt.err, "option "+name) }},
		} {
			if !slices.ContainsFunc(optionTests, func(tt optionTest) bool {
				return slices.Contains(strings.Fields(tt.block), name) && kind.fits(tt)
			}) {
				t.Errorf("option %s has no row with %s arguments", name, kind.name)
			}
		}
	}
}

// optionsOfKubernetes reads the options of the peer from its source: the cases of
// the switch over c.Val().
func optionsOfKubernetes(t *testing.T) []string {
	t.Helper()
	pc := reflect.ValueOf(kubernetes.ParseStanza).Pointer()
	path, _ := runtime.FuncForPC(pc).FileLine(pc)
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SwitchStmt)
		if !ok {
			return true
		}
		if call, ok := s.Tag.(*ast.CallExpr); !ok || call.Fun.(*ast.SelectorExpr).Sel.Name != "Val" {
			return true
		}
		for _, clause := range s.Body.List {
			for _, e := range clause.(*ast.CaseClause).List {
				name, err := strconv.Unquote(e.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
		}
		return false
	})
	if len(names) < 18 {
		t.Fatalf("found only %q in %s", names, path)
	}
	return names
}

// TestOptionsOfKubernetes: every option of the peer is here.
func TestOptionsOfKubernetes(t *testing.T) {
	for _, name := range optionsOfKubernetes(t) {
		if _, known := options[name]; !known {
			t.Errorf("option %s of kubernetes is not known", name)
		}
	}
}
