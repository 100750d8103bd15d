package iptables

import (
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Render prints the rules for a table as iptables-restore and ip6tables-restore would take
// them on a host that has none.
func Render(host dataplane.Host, t *vip.Table) (string, error) {
	changes := t.Additions()
	var b strings.Builder
	for _, v4 := range []bool{true, false} {
		rules := newRuleset(&host, v4, false)
		rules.change(changes)
		b.WriteString(map[bool]string{true: "# iptables-restore\n", false: "# ip6tables-restore\n"}[v4])
		b.WriteString(rules.repair(listing{}, rules.tables()).String())
	}
	return b.String(), nil
}
