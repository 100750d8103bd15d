package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
)

// closed returns a line for each Service whose spec.externalIPs the feature gate disables,
// sorted. With an address it returns only Services that have it.
func (v *view) closed(at netip.Addr) (lines []string) {
	if v.config.ExternalIPs {
		return nil
	}
	for e := range v.store.Services() {
		x := e.Service.External
		if x == nil || len(x.IPs) == 0 || at.IsValid() && !slices.Contains(x.IPs, at) {
			continue
		}
		lines = append(lines, closedLine(e.Service.Key, x.IPs))
	}
	slices.Sort(lines)
	return lines
}

func closedLine(service cluster.Key, list []netip.Addr) string {
	var texts []string
	for _, a := range list {
		texts = append(texts, a.String())
	}
	return fmt.Sprintf("spec.externalIPs of %v is not programmed (feature gate %s=false): %s\n",
		service, config.AllowExternalIPs, strings.Join(texts, ", "))
}
