package iptables

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// InUse reports whether there are rules of this mode, ours or kube-proxy's, of either backend. Where the
// node has no programs for a backend, it has no rules of it.
func InUse(ctx context.Context) bool {
	for _, backend := range backends {
		t := tools(backend)
		if _, err := exec.LookPath(t.Iptables); err != nil || backend == "legacy" && !legacyUsed(true) {
			continue
		}
		if _, err := run(ctx, nil, t.Iptables, "-t", nat, "-S", services.name); err == nil {
			return true
		}
	}
	return false
}

// Cleanup removes all rules of this mode, ours or kube-proxy's, by every backend and family
// that the node has programs for, and returns how many chains that were. What the kubelet
// has in the same tables stays.
func Cleanup(ctx context.Context) (int, error) { return remove(ctx, backends, ours) }

// CleanupOther removes all rules of this mode by the backend that d does not use, and returns how many chains
// that were. The kernel applies the rules of both, so what an earlier kube-proxy wrote by the other would
// still translate.
func (d *Dataplane) CleanupOther(ctx context.Context) (int, error) {
	used := d.families[0].Backend()
	return remove(ctx, slices.DeleteFunc(slices.Clone(backends), func(b string) bool { return b == used }), ours)
}

// CleanupBeside removes only the chains that kube-proxy does not know, so that one can run:
// it has written the others anew.
func CleanupBeside(ctx context.Context) (int, error) {
	return remove(ctx, backends, func(c chain) bool { return slices.Contains([]chain{refusedPorts, otherPorts, reject}, c) })
}

// remove removes chains of these backends and what leads to them.
func remove(ctx context.Context, from []string, which func(chain) bool) (int, error) {
	var errs []error
	removed := 0
	for _, backend := range from {
		for _, v4 := range []bool{true, false} {
			f := family{Tools: tools(backend).of(v4), v4: v4}
			if _, err := exec.LookPath(f.Save); err != nil || backend == "legacy" && !legacyUsed(v4) {
				continue
			}
			there, err := f.save(ctx)
			if err != nil {
				continue // a kernel without tables of this backend has no rules there
			}
			s := clear(there, which)
			for _, p := range s {
				removed += len(p.drop)
			}
			if err := f.restore(ctx, s); err != nil {
				errs = append(errs, fmt.Errorf("remove the rules of %s: %w", f.Iptables, err))
			}
		}
	}
	return removed, errors.Join(errs...)
}

// clear is the script that removes chains and what leads to them.
func clear(there listing, which func(chain) bool) script {
	s := script{}
	gone := map[chain]bool{}
	for c := range there {
		if which(c) {
			gone[c] = true
			s.drop(c)
		}
	}
	for c, rules := range there {
		if gone[c] {
			continue
		}
		for _, r := range rules {
			_, target, _ := strings.Cut(r, "-j ")
			target, _, _ = strings.Cut(target, " ")
			if gone[chain{c.table, target}] {
				s.remove(c, r)
			}
		}
	}
	return s
}

// ours reports whether a chain is of this mode. KUBE-FIREWALL is the kubelet's, too.
func ours(c chain) bool {
	if c == kubeFirewall || c.table != nat && c.table != filter && c != peerCanary {
		return false
	}
	return private(c) || slices.Contains(ofIPVS, c.name) || slices.Contains([]chain{
		services, nodePorts, postrouting, markMasq, refused, refusedElse, refusedPorts, otherPorts, reject, healthChecks,
		firewall, forward, natCanary, filterCanary, peerCanary,
	}, c)
}

// ofIPVS are the chains that only kube-proxy's mode ipvs has, in table nat or filter: left behind they
// would refuse what a set of that mode does not know.
var ofIPVS = []string{
	"KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER",
}
