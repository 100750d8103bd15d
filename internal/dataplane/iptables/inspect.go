package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Inspect reads the rules that the node has for the Service port of a route, in the network
// namespace of the calling thread, and compares them with those that the table asks for. A
// route of nil has none. The lines are for people; nothing is changed. It returns
// dataplane.ErrNoRules where no proxy has written any.
func Inspect(ctx context.Context, h dataplane.Host, t *vip.Table, r *vip.Route) ([]string, error) {
	tools, err := Detect()
	if err != nil {
		return nil, dataplane.ErrNoRules
	}
	f := family{Tools: tools.of(r == nil || r.Addr.Is4())}
	there, err := f.save(ctx)
	if err != nil {
		return nil, err
	}
	if _, routed := there[services]; !routed {
		return nil, dataplane.ErrNoRules
	}
	if r == nil {
		return []string{"no chain is for it"}, nil
	}
	var routes []*vip.Route
	g := groupOf(r)
	for o := range t.All() {
		if groupOf(o) == g {
			routes = append(routes, o)
		}
	}
	return compared(there, render(&h, g, routes)), nil
}

// compared tells for each rule of a piece whether it is there.
func compared(there listing, p piece) []string {
	var lines []string
	wrong := 0
	for _, c := range slices.SortedFunc(maps.Keys(p.chains), chain.compare) {
		lines = append(lines, fmt.Sprintf("%s %s: %d rules", c.table, c.name, len(there[c])))
		if !alike(there[c], p.chains[c]) {
			wrong++
			lines = append(lines, "  wants "+strings.Join(p.chains[c], "\n  wants "))
		}
	}
	for _, c := range slices.SortedFunc(maps.Keys(p.entries), chain.compare) {
		for _, rule := range p.entries[c] {
			is := "in"
			if !slices.ContainsFunc(there[c], func(r string) bool { return canonical(r) == canonical(rule) }) {
				wrong++
				is = "NOT in"
			}
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", is, c.table, c.name, rule))
		}
	}
	if wrong > 0 {
		return append(lines, fmt.Sprintf("NOT AS INTENDED: %d chains or rules differ", wrong))
	}
	return append(lines, "as intended")
}

func (c chain) compare(o chain) int {
	return strings.Compare(c.table+" "+c.name, o.table+" "+o.name)
}

// Frontends returns the frontends that rules of this mode translate in the network namespace of the calling thread, ours
// or kube-proxy's, of every backend that the node has programs for.
func Frontends() (list []vip.Frontend, err error) {
	for _, backend := range backends {
		for _, v4 := range []bool{true, false} {
			f := family{Tools: tools(backend).of(v4), v4: v4}
			if _, missing := exec.LookPath(f.Iptables); missing != nil || backend == "legacy" && !legacyUsed(v4) {
				continue
			}
			for _, c := range []chain{services, nodePorts} {
				rules, _, failed := f.list(context.Background(), c)
				err = errors.Join(err, failed)
				for _, r := range rules {
					if at, ok := frontendOf(r, v4); ok && at.IsNodePort() == (c == nodePorts) {
						list = append(list, at)
					}
				}
			}
		}
	}
	return list, err
}
