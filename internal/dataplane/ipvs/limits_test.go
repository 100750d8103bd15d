package ipvs

import (
	"maps"
	"slices"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
	"github.com/signpost-dns/signpost/internal/vip"
)

// What the packet scenarios skip is what operators are told, by the same names.
func TestLimits(t *testing.T) {
	var names []string
	concerned := func(r *vip.Route) (list []string) {
		for _, l := range limits {
			if l.Concerns(r) {
				list = append(list, l.Name)
			}
		}
		return list
	}
	for _, l := range limits {
		if !l.Tell { // in no scenario a node knows another one
			names = append(names, l.Name)
		}
	}
	if want := slices.Sorted(maps.Keys(lacks)); !slices.Equal(slices.Sorted(slices.Values(names)), want) {
		t.Errorf("limits %q, the scenarios skip for %q", names, want)
	}
	for _, c := range []struct {
		name  string
		route vip.Route
		want  []string
	}{
		{"a ClusterIP", vip.Route{}, nil},
		{"a ClusterIP with affinity", vip.Route{Affinity: 10800}, nil},
		{"for a short time", vip.Route{Affinity: 10}, []string{conformance.ShortAffinity}},
		{"a NodePort with affinity", vip.Route{Kind: vip.NodePort, Affinity: 10800}, []string{conformance.SharedAffinity}},
		{"an external address", vip.Route{Kind: vip.ExternalIP}, []string{conformance.OtherPorts}},
		{"a load balancer's", vip.Route{Kind: vip.LoadBalancer}, []string{conformance.OtherPorts}},
	} {
		if got := concerned(&c.route); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
