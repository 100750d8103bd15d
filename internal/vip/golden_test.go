package vip

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is wanted anew")

// TestTables prints states and explains packets: testdata/tables.txtar is asked,
// testdata/tables.golden is what people read.
func TestTables(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/tables.txtar")
	if err != nil {
		t.Fatal(err)
	}
	got := &txtar.Archive{}
	for _, f := range archive.Files {
		s := newScene(t)
		var packets []string
		for line := range strings.Lines(string(f.Data)) {
			if strings.Contains(line, " > ") {
				packets = append(packets, strings.TrimSpace(line))
			} else if words := strings.Fields(line); len(words) > 0 {
				s.do(line, words)
			}
		}
		table := s.table()
		text := table.String()
		for _, line := range packets {
			p := s.packet(line, line)
			x := table.Explain(&s.host, p)
			text += "\n" + x.String()
			if x.Route != nil && !x.Filtered {
				e := s.store.Service("ns", x.Route.Owner.Service.Name)
				if why := x.Route.Unserved(e, s.node); why != "" && x.Action == Reject {
					text += "  refused: " + why + "\n"
				}
				for _, line := range x.Route.Endpoints(e, s.node, x.Class) {
					text += fmt.Sprintf("  endpoint %s\n", line)
				}
			}
		}
		got.Files = append(got.Files, txtar.File{Name: f.Name, Data: []byte(text)})
	}
	const golden = "testdata/tables.golden"
	if *update {
		if err := os.WriteFile(golden, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
