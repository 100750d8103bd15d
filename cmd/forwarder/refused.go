package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// refused returns a line for each external address or port that a Service claims and this node
// refuses, sorted. With a destination it returns only those that match it.
func (v *view) refused(at netip.AddrPort) (lines []string) {
	for e := range v.store.Services() {
		for _, r := range vip.Refused(e, v.node) {
			meets := r.IsOtherPorts() && r.Addr == at.Addr() || r.Port == at.Port() && (r.Addr == at.Addr() || r.IsNodePort() && v.host.ServesNodePorts(at.Addr()))
			if !at.IsValid() || meets {
				lines = append(lines, fmt.Sprintf("%v: %v\n", e.Service.Key, r))
			}
		}
	}
	slices.Sort(lines)
	return lines
}
