package nftables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Render is what Sync makes of an empty host, as text that `nft -f` takes: sorted,
// and the same for the same table. It fails with RouteErrors, as Sync does; the
// text has all other routes.
func Render(host dataplane.Host, t *vip.Table) (string, error) {
	var b strings.Builder
	var errs []error
	for i, f := range families {
		if i > 0 {
			b.WriteByte('\n')
		}
		var routes []*vip.Route
		for r := range t.All() {
			if familyOf(r.Frontend) == f {
				routes = append(routes, r)
			}
		}
		slices.SortFunc(routes, func(a, b *vip.Route) int { return a.Compare(b.Frontend) })
		errs = append(errs, renderTable(&b, newLayout(f, host), host, routes)...)
	}
	return b.String(), errors.Join(errs...)
}

func renderTable(b *strings.Builder, l *layout, host dataplane.Host, routes []*vip.Route) []error {
	elements := map[*set][]op{}
	add := func(ops ...op) {
		for _, o := range ops {
			elements[o.set] = append(elements[o.set], o)
		}
	}
	t := newTable(nil, l, tableName)
	routes, errs := t.limited(routes)
	u := newUse()
	for _, r := range routes {
		t.use(r, 1, u)
	}
	add(t.plan(u).first...)
	for _, r := range routes {
		if err := l.check(r); err != nil {
			errs = append(errs, &dataplane.RouteError{Route: r, Err: err})
			continue
		}
		add(l.ops(r.Frontend, installed{}, l.route(r, t.number(r), installed{}))...)
	}
	add(putMissing(l.hairpin, nil, t.hairpinKeys())...)
	add(putMissing(l.nodeAddrs, nil, l.nodeAddrKeys(host))...)

	fmt.Fprintf(b, "table %s %s {\n\tcomment %q\n", l.Family.Name, tableName, title)
	networks := map[*set][]netip.Prefix{l.podCIDRs: host.Pods.CIDRs, l.serviceCIDRs: host.Enforced()}
	for _, s := range l.sets(u.need) {
		words := elementWords(s, elements[s])
		if s.Interval {
			words = intervalWords(intervals(l.Family, networks[s]))
		}
		s.render(b, words)
	}
	for _, c := range l.chains(u.need) {
		renderChain(b, c)
	}
	b.WriteString("}\n")
	return errs
}

// elementWords are the elements of a set, sorted by key.
func elementWords(s *set, ops []op) []string {
	slices.SortFunc(ops, func(a, b op) int { return a.key.compare(b.key) })
	var words []string
	for _, o := range ops {
		words = append(words, s.elementText(o.key, o.val))
	}
	return words
}

// intervalWords are the elements of a set of networks, as nft lists them.
func intervalWords(keys []key) []string {
	var words []string
	for i, k := range keys {
		if k.end {
			continue
		}
		var last netip.Addr
		if i+1 < len(keys) {
			last = keys[i+1].addr.Prev()
		} else {
			last = lastOf(netip.PrefixFrom(k.addr, 0))
		}
		words = append(words, rangeText(k.addr, last))
	}
	return words
}

// rangeText is a network if the range is one.
func rangeText(first, last netip.Addr) string {
	for bits := range first.BitLen() + 1 {
		if n := netip.PrefixFrom(first, bits); n.Masked() == n && lastOf(n) == last {
			return n.String()
		}
	}
	return first.String() + "-" + last.String()
}

func (s *set) render(b *strings.Builder, elements []string) {
	kind := "set"
	if s.Value != nil {
		kind = "map"
	}
	fmt.Fprintf(b, "\t%s %s {\n\t\t%s\n", kind, s.Name, s.declaration())
	if s.Dynamic {
		fmt.Fprintf(b, "\t\tsize %d\n\t\tflags dynamic,timeout\n", s.Size)
	}
	if s.Interval {
		b.WriteString("\t\tflags interval\n")
	}
	if len(elements) > 0 {
		fmt.Fprintf(b, "\t\telements = { %s }\n", strings.Join(elements, ",\n\t\t\t     "))
	}
	b.WriteString("\t}\n\n")
}

// declaration says what the keys and values of a set are: by types, or by expressions.
func (s *set) declaration() string {
	words := func(fields []nft.Field) string {
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.Type.Name
			if s.Typeof {
				names[i] = f.Text
			}
		}
		return strings.Join(names, " . ")
	}
	text := "type " + words(s.Key)
	if s.Typeof {
		text = "typeof " + words(s.Key)
	}
	if s.Value != nil {
		text += " : " + words(s.Value)
	}
	return text
}

func renderChain(b *strings.Builder, c nft.Chain) {
	fmt.Fprintf(b, "\tchain %s {\n", c.Name)
	if c.Hook != nil {
		fmt.Fprintf(b, "\t\ttype %s hook %s priority %s; policy accept;\n", c.Hook.Type, c.Hook.Name, c.Hook.Text)
	}
	for _, r := range c.Rules {
		b.WriteString("\t\t" + r.Text + "\n")
	}
	b.WriteString("\t}\n\n")
}
