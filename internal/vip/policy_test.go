package vip

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPolicies builds a Service in each configuration that decisions depend on: the policies that come out are those
// that there are, each under its own name.
func TestPolicies(t *testing.T) {
	made := map[Policy]bool{}
	for _, pods := range []string{"10.0.0.0/8", ""} {
		for _, node := range []string{"node", "node masquerade-all"} {
			for _, policy := range []string{"", " itp=Local etp=Local check=30000"} {
				for _, endpoint := range []string{"", " 10.1.0.1@local", " 10.1.0.2@remote"} {
					s := newScene(t)
					for _, line := range []string{
						"host pods=" + pods, node,
						"service web 172.30.0.41 lb=1.2.3.4 port=p80:80/tcp:3001" + policy,
						"endpoints web p80:8080/tcp" + endpoint,
					} {
						s.do(line, strings.Fields(line))
					}
					for r := range s.table().All() {
						made[r.Policy] = true
					}
				}
			}
		}
	}
	var got, want []string
	for p := range Policies {
		if want = append(want, p.String()); made[p] {
			got = append(got, p.String())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policies that Build makes (-all +made):\n%s", diff)
	}
	slices.Sort(want)
	if n := len(slices.Compact(want)); n != int(Policies) {
		t.Errorf("%d policies have %d texts", Policies, n)
	}
}

// TestPolicyText is the form that golden files and people read.
func TestPolicyText(t *testing.T) {
	for p, want := range map[Policy]string{
		ClusterPods:       "pod=cluster node=cluster+masquerade outside=cluster+masquerade",
		ExternalLocalDrop: "pod=cluster node=cluster+masquerade outside=drop",
		RejectAll:         "pod=reject node=reject outside=reject",
	} {
		if got := fmt.Sprint(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
