package bench

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

const ours, theirs = "signpost", "kubernetes"

// plugins in the order in which they are measured: a row is complete with ours.
var plugins = []string{theirs, ours}

// row is one line of the table that ends a run: what was measured of both, and
// the goal that the project set itself.
type row struct {
	what, unit   string
	ours, theirs float64
	most         float64 // of ours, in the unit; 0: no limit
	ratio        float64 // of theirs to ours at least; 0: none
}

var table struct {
	sync.Mutex
	rows []row
}

// note adds a line to the table.
func note(r row) {
	table.Lock()
	defer table.Unlock()
	table.rows = append(table.rows, r)
}

// met tells whether the goal is reached; "-" where there is none.
func (r row) met() string {
	switch {
	case r.most == 0 && r.ratio == 0:
		return "-"
	case r.most > 0 && r.ours > r.most, r.ratio > 0 && r.theirs/r.ours < r.ratio:
		return "MISSED"
	}
	return "ok"
}

func (r row) goal() string {
	switch {
	case r.most > 0 && r.ratio > 0:
		return fmt.Sprintf("≤ %s, ≥ %g×", number(r.most), r.ratio)
	case r.most > 0:
		return "≤ " + number(r.most)
	case r.ratio > 0:
		return fmt.Sprintf("≥ %g×", r.ratio)
	}
	return ""
}

// number writes three digits, or all before the point.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func printTable() {
	table.Lock()
	defer table.Unlock()
	if len(table.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nmeasured\tsignpost\tkubernetes\tratio\tgoal\t")
	for _, r := range table.rows {
		peer, ratio := "-", "-"
		if r.theirs > 0 {
			peer, ratio = number(r.theirs), fmt.Sprintf("%.1f×", r.theirs/r.ours)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", strings.TrimSuffix(r.what+", "+r.unit, ", "), number(r.ours), peer, ratio, r.goal(), r.met())
	}
	w.Flush()
}

// TestMain is also the entry of the processes in which servers are measured.
func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		if err := runChild(child); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	code := m.Run()
	printTable()
	os.Exit(code)
}

// cpu is the processor time of this process so far. On a machine that others use,
// too, it says more than the time that passed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
