package ipvs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Render prints what a host that has nothing gets for a table: the virtual servers as ipvsadm -S -n
// does, the addresses of kube-ipvs0, and the companion with its elements. A Service's own scheduler is
// printed whether the kernel has it or not.
func Render(o Options, host dataplane.Host, t *vip.Table) string {
	m := newModel(&host, o.scheduler)
	for _, a := range host.Addrs {
		m.own[a] = true
	}
	changes := t.Additions()
	slices.SortFunc(changes, func(a, b vip.Change) int { return a.Compare(b.Frontend) }) // marks that fall together
	_, want := m.change(changes)
	s := diff(newFacts(), want)
	var b strings.Builder
	b.WriteString("# ipvsadm\n")
	for _, v := range slices.SortedFunc(maps.Keys(want.servers), virtual.compare) {
		b.WriteString(want.servers[v].text(v))
	}
	b.WriteString("# ip\n")
	for _, a := range s.bind {
		fmt.Fprintf(&b, "addr add %v/%d dev %s\n", a, a.BitLen(), linkName)
	}
	for _, v4 := range []bool{true, false} {
		l := newLayout(&host, v4)
		b.WriteString("# nft\n" + l.text())
		for _, e := range elementTexts(l, want.elements) {
			b.WriteString(e)
		}
	}
	return b.String()
}

// elementTexts prints the elements of a family as nft would take them, sorted.
func elementTexts(l *layout, elements map[element]uint32) []string {
	var lines []string
	for e, value := range elements {
		if e.place.Addr.Is4() != l.v4 {
			continue
		}
		var words []string
		for _, f := range shapes[e.set].fields {
			switch {
			case f == protocol:
				words = append(words, e.place.Protocol.String())
			case f == port:
				words = append(words, fmt.Sprint(e.place.Port))
			case f == source && e.source.IsValid():
				words = append(words, e.source.String())
			default:
				words = append(words, e.place.Addr.String())
			}
		}
		text := strings.Join(words, " . ")
		if shapes[e.set].isMap {
			text += fmt.Sprintf(" : 0x%08x", value)
		}
		lines = append(lines, fmt.Sprintf("add element %s %s %s { %s }\n", l.family(), tableName, e.set, text))
	}
	slices.Sort(lines)
	return lines
}

// scheduler is the one that a Service gets if the kernel has it.
func (o Options) scheduler(wanted string) string {
	for _, name := range []string{wanted, o.Scheduler} {
		if name != "" {
			return name
		}
	}
	return defaultScheduler
}
