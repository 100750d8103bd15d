package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// TestChoose has the cases of kube-proxy's TestCategorizeEndpoints by their numbers
// (service.md 4.12). Endpoints are named by their place, from 1. An endpoint is written
// as [L]ZONES[/NODES][!CONDITIONS], L: it is here; - has no hints.
func TestChoose(t *testing.T) {
	const plain, external, internal, both = "", "etp=Local np", "itp=Local", "itp=Local etp=Local np"
	tests := []struct {
		id             int
		node           string // NAME ZONE
		service        string
		endpoints      string
		cluster, local string // the sets that the routes have; "": nil
		any            bool   // else all is refused
	}{
		{1, "n zone-a", plain, "a b c a", "1 4", "", true},
		{2, "n zone-a", external, "La Lb c a", "1 4", "1 2", true},
		{3, "n zone-a", "itp=Local np", "La Lb c a", "1 4", "1 2", true},
		{4, "n -", plain, "- - a -", "1 2 3 4", "", true},
		{5, "n -", plain, "a b c a", "1 2 3 4", "", true},
		{6, "n zone-b", plain, "a a", "1 2", "", true},
		{7, "n zone-a", plain, "a b c a!s", "1", "", true},
		{8, "n zone-a", plain, "a!s b c a!s", "2 3", "", true},
		{9, "n zone-a", plain, "a b - a", "1 2 3 4", "", true},
		{10, "n zone-c", plain, "a,b,c b,c b,d c", "1 2 4", "", true},
		{11, "other zone-a", plain, "a/n1 b/n2 c/n3 a/n4", "1 4", "", true}, // the gate is gone; a node without endpoints
		{12, "n1 zone-a", plain, "a/n1 b/n2 c/n3 a/n4", "1", "", true},
		{13, "n1 zone-a", plain, "a/n1 b/n2 - a/n4", "1 2 3 4", "", true},
		{14, "n0 zone-a", plain, "a/n1 b/n2 c/n3 a/n4", "1 4", "", true},
		{15, "n zone-a", external, "La Lb a b", "1 3", "1 2", true},
		{16, "n -", internal, "", "", "", false},
		{17, "n -", internal, "- -", "", "", true},
		{18, "n -", internal, "L- L-", "", "1 2", true},
		{19, "n -", internal, "L- -", "", "1", true},
		{20, "n -", plain, "-!s -!s", "", "", false},
		{21, "n -", plain, "-!s -", "2", "", true},
		{22, "n -", plain, "L-!st -!st", "1 2", "", true},
		{23, "n -", "itp=Local np", "L- -", "1 2", "1", true},
		{24, "n -", external, "L- -", "1 2", "1", true},
		{25, "n -", both, "L- -", "1 2", "1", true},
		{26, "n -", both, "- -", "1 2", "", true},
		{27, "n -", both, "-!st -!st", "1 2", "", true},
		{28, "n -", external, "- L-! L-!st -!st", "1", "3", true},
		{29, "n -", "etp=Local", "- L-", "1 2", "", true},
		{30, "n -", internal, "- L-", "", "2", true},
		{31, "n -", plain, "-!", "", "", false},
		// Those who drain have no say in which hints are followed, and none of their own.
		{32, "n zone-a", plain, "a -!st", "1", "", true},
		{33, "n zone-a", plain, "b!st a!st", "1 2", "", true},
		{34, "n1 -", external, "L-/n2 -/n1", "2", "1", true},
	}
	for i, tt := range tests {
		if tt.id != i+1 {
			t.Fatalf("case %d stands at %d", tt.id, i+1)
		}
		t.Run(fmt.Sprint(tt.id), func(t *testing.T) {
			name, zone, _ := strings.Cut(tt.node, " ")
			n := Node{Name: cluster.MakeAtom(name), Pods: detecting.Pods}
			if zone != "-" {
				n.Zone = cluster.MakeAtom(strings.TrimPrefix(zone, "zone-"))
			}
			routes := Build(entry(func(s *cluster.Service) {
				s.InternalLocal, s.ExternalLocal = strings.Contains(tt.service, "itp"), strings.Contains(tt.service, "etp")
				if strings.Contains(tt.service, "np") {
					s.Ports[0].NodePort = 30009
				}
			}, sliceOf("web-1", http8080, hinted(n.Name, tt.endpoints)...)), n)
			var inCluster, local []Backend
			refuses := true
			for _, r := range routes {
				if r.Kind == OtherPorts {
					continue
				}
				refuses = refuses && r.Policy == RejectAll
				inCluster = append(inCluster, r.Cluster...)
				local = append(local, r.Local...)
			}
			if got := places(inCluster); got != tt.cluster {
				t.Errorf("cluster %q, want %q", got, tt.cluster)
			}
			if got := places(local); got != tt.local {
				t.Errorf("local %q, want %q", got, tt.local)
			}
			if refuses == tt.any {
				t.Errorf("all is refused: %v, want %v", refuses, !tt.any)
			}
		})
	}
}

// hinted reads endpoints as TestChoose has them; the nth is 10.244.0.n.
func hinted(here cluster.Atom, text string) (list []cluster.Endpoint) {
	for i, w := range strings.Fields(text) {
		ep := cluster.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 244, 0, byte(i + 1)}), Node: cluster.MakeAtom("elsewhere"), Conditions: ready}
		w, conditions, some := strings.Cut(w, "!")
		if some {
			ep.Conditions = 0
			for _, c := range conditions {
				ep.Conditions |= map[rune]cluster.Conditions{'s': cluster.Serving, 't': cluster.Terminating}[c]
			}
		}
		w, isHere := strings.CutPrefix(w, "L")
		if isHere {
			ep.Node = here
		}
		zones, nodes, _ := strings.Cut(w, "/")
		if zones != "-" {
			ep.ForZones = cluster.MakeAtom(zones)
		}
		ep.ForNodes = cluster.MakeAtom(nodes)
		list = append(list, ep)
	}
	return list
}

// places are the numbers of backends, sorted, each once.
func places(list []Backend) string {
	var out []string
	for _, b := range list {
		out = append(out, fmt.Sprint(b.Addr().As4()[3]))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " ")
}
