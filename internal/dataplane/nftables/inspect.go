package nftables

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Inspect reads what the kernel has for a frontend, in the network namespace of the
// calling thread, and compares it with a route, which is nil if there is to be nothing.
// The lines are for people. It changes nothing, and may be called beside a process that
// owns the table. It returns dataplane.ErrNoRules where no forwarder has written any.
func Inspect(host dataplane.Host, f vip.Frontend, r *vip.Route) (lines []string, err error) {
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	t := newTable(c, newLayout(familyOf(f), host), tableName)
	found, err := c.FindTable(t.id())
	if err == nil && found == nil {
		err = dataplane.ErrNoRules
	}
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: expected the capability NET_ADMIN", err)
	}
	if err != nil {
		return nil, err
	}
	layout, err := findLayout(c, t.id())
	if err != nil {
		return nil, err
	}
	var why string
	if t.made, why = t.difference(layout); why != "" {
		return []string{"the rules are not those of this version and configuration: " + why}, nil
	}
	have, err := findElements(c, t.layout, t.id(), t.made)
	if err != nil {
		return nil, err
	}
	return t.inspected(f, r, have), nil
}

// inspected tells what a frontend has, and whether that is what it should.
func (t *table) inspected(f vip.Frontend, r *vip.Route, have *foundElements) []string {
	now := have.of(f)
	var in []string
	for _, m := range now.in {
		if !slices.Contains(in, m.set.Name) {
			in = append(in, m.set.Name)
		}
	}
	if len(in) == 0 {
		in = []string{"nothing"}
	}
	lines := []string{"in " + strings.Join(in, ", ")}
	for _, p := range now.slots {
		lines = append(lines, fmt.Sprintf("%s: %s", p.set.Name, slotText(p.slots)))
	}
	owner, known := now.owner()
	for s, backends := range have.owners[owner].backends {
		if known && len(backends) > 0 {
			var list []string
			for _, b := range backends {
				list = append(list, b.String())
			}
			slices.Sort(list)
			lines = append(lines, fmt.Sprintf("%s: %s", t.backends[vip.Set(s)].Name, strings.Join(list, " ")))
		}
	}
	return append(lines, t.verdict(f, r, now, have))
}

func slotText[T fmt.Stringer](slots []T) string {
	var words []string
	for _, s := range slots {
		words = append(words, s.String())
	}
	return strings.Join(words, " ")
}

// verdict compares what is there with what is wanted.
func (t *table) verdict(f vip.Frontend, r *vip.Route, now installed, have *foundElements) string {
	if r != nil {
		if err := t.check(r); err != nil {
			return "cannot be programmed: " + err.Error()
		}
		u := newUse()
		if n, known := now.owner(); known {
			t.owners.claim(keyOf(r), n, true)
		} else if len(have.owners) >= t.owners.most {
			r = withoutAffinity(r)
		}
		t.use(r, 1, u)
		plan := t.adoptOwners(u, have)
		if len(plan.first) > 0 {
			return "NOT AS INTENDED: backends of the Service port are missing or others"
		}
	}
	if ops := t.ops(f, now, t.route(r, t.number(r), now)); len(ops) > 0 {
		return fmt.Sprintf("NOT AS INTENDED: %d elements differ", len(ops))
	}
	return "as intended"
}
