package main

import (
	"slices"
	"testing"
)

// A play is one end-to-end test: what a person or a pager would see.
type play struct {
	name string
	run  func(*scene)
	// It takes something from everybody: a node, the API server, DNS. Others wait meanwhile.
	alone bool
}

// plays are independent of each other and of their order.
var plays = []play{
	{"rollout under load", playRollout, false},
	{"tutorial", playTutorial, false},
	{"nslookup in a busybox", playNslookup, false},
	{"dual stack", playDualStack, false},
	{"UDP", playUDP, false},
	{"no endpoints", playNoEndpoints, false},
	{"hairpin", playHairpin, false},
	{"headless StatefulSet", playStatefulSet, false},
	{"ExternalName", playExternalName, false},
	{"LoadBalancer", playLoadBalancer, false},
	{"source ranges", playSourceRanges, false},
	{"source address", playSourceAddress, false},
	{"session affinity", playAffinity, false},
	{"externalTrafficPolicy Local", playExternalLocal, false},
	{"internalTrafficPolicy Local", playInternalLocal, false},
	{"trafficDistribution", playDistribution, false},
	{"CoreDNS pod deleted", playDNSPodDeleted, true},
	{"forwarder killed", playForwarderKilled, true},
	{"forwarder upgraded", playForwarderUpgraded, true},
	{"API server away", playAPIServerAway, true},
	{"node lost", playNodeLost, true},
	{"mode iptables", playModeIptables, true},
	{"mode ipvs", playModeIPVS, true},
	{"migration", playMigration, true},
	{"footprint", playFootprint, true},
}

// TestCluster plays them in a real cluster.
func TestCluster(t *testing.T) {
	t.Parallel()
	needCluster(t)
	shared.once.Do(shared.start)
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	listed := notYet(t)
	for name := range listed {
		if !slices.ContainsFunc(plays, func(p play) bool { return underscored(p.name) == name }) {
			t.Errorf("%s lists %s: there is no such play", notYetFile, name)
		}
	}
	run := func(t *testing.T, p play) {
		r := &recorder{t: t, listed: listed[underscored(p.name)]}
		r.play(p.run)
	}
	t.Run("together", func(t *testing.T) {
		for _, p := range plays {
			if !p.alone {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					run(t, p)
				})
			}
		}
	})
	t.Run("alone", func(t *testing.T) {
		for _, p := range plays {
			if p.alone {
				t.Run(p.name, func(t *testing.T) { run(t, p) })
			}
		}
	})
}

// underscored spells a name as `go test -run` does.
func underscored(name string) string {
	b := []byte(name)
	for i := range b {
		if b[i] == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}
