package forwarder

import (
	"fmt"
	"os"
	"text/tabwriter"
)

// row is one line of the table that ends a run.
type row struct {
	size, what, unit string
	by               map[string]float64 // by side
	most             float64            // of ours; 0: no limit
	ratio            float64            // of theirs to ours at least; 0: none
}

var rows []*row

// note adds what was measured of a side, and tells it at once: a run takes long, and may be ended before it is over.
func note(size, what, unit, side string, value, most, ratio float64) {
	fmt.Fprintf(os.Stderr, "%s %s: %s, %s: %s\n", size, side, what, unit, number(value))
	for _, r := range rows {
		if r.size == size && r.what == what {
			r.by[side] = value
			return
		}
	}
	rows = append(rows, &row{size, what, unit, map[string]float64{side: value}, most, ratio})
}

func (r *row) goal() (text, met string) {
	mine, measured := r.by[ours]
	their, compared := r.by[theirs]
	met = "-"
	judge := func(ok bool) {
		if !ok {
			met = "MISSED"
		} else if met == "-" {
			met = "ok"
		}
	}
	if r.most > 0 {
		text = "≤ " + number(r.most)
		if measured {
			judge(mine <= r.most)
		}
	}
	if r.ratio > 0 {
		text += fmt.Sprintf(" ≥ %g×", r.ratio)
		if measured && compared {
			judge(their >= r.ratio*mine)
		}
	}
	return text, met
}

func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func printTable() {
	if len(rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nServices × endpoints\tmeasured\t%s\t%s\tratio\tgoal\t\n", ours, theirs)
	for _, r := range rows {
		mine, their, ratio := "-", "-", "-"
		if v, ok := r.by[ours]; ok {
			mine = number(v)
		}
		if v, ok := r.by[theirs]; ok {
			their = number(v)
			if m := r.by[ours]; m > 0 {
				ratio = number(v/m) + "×"
			}
		}
		goal, met := r.goal()
		fmt.Fprintf(w, "%s\t%s, %s\t%s\t%s\t%s\t%s\t%s\n", r.size, r.what, r.unit, mine, their, ratio, goal, met)
	}
	w.Flush()
}
