package vip

import "strings"

// Policy is what happens to new connections of a frontend, by the class of their source. The set is closed: Build
// makes no others, so a dataplane can switch on them.
type Policy uint8

// The policies. Those that forward to the set Cluster or Local do so for all classes. A name that ends in Keep keeps
// the source of all, one in Pods keeps that of pods and masquerades the rest, and one in Masquerade masquerades all.
const (
	ClusterKeep Policy = iota
	ClusterPods
	ClusterMasquerade
	LocalKeep
	LocalPods
	LocalMasquerade
	// ExternalLocal is externalTrafficPolicy=Local. It holds for clients from outside: those inside the cluster reach
	// all endpoints.
	ExternalLocal
	// ExternalLocalDrop is ExternalLocal without endpoints on this node.
	ExternalLocalDrop
	// ExternalLocalNoPods is ExternalLocal where pods cannot be detected: they are treated as clients from outside.
	ExternalLocalNoPods
	// ExternalLocalNoPodsDrop is ExternalLocalNoPods without endpoints on this node.
	ExternalLocalNoPodsDrop
	RejectAll
	DropAll
	AcceptAll
	Policies // how many there are
)

// decisions are the meaning of the policies.
var decisions = [Policies][Classes]Decision{
	ClusterKeep:             {{}, {}, {}},
	ClusterPods:             {{}, {Masquerade: true}, {Masquerade: true}},
	ClusterMasquerade:       {{Masquerade: true}, {Masquerade: true}, {Masquerade: true}},
	LocalKeep:               {{Set: Local}, {Set: Local}, {Set: Local}},
	LocalPods:               {{Set: Local}, {Set: Local, Masquerade: true}, {Set: Local, Masquerade: true}},
	LocalMasquerade:         {{Set: Local, Masquerade: true}, {Set: Local, Masquerade: true}, {Set: Local, Masquerade: true}},
	ExternalLocal:           {{}, {Masquerade: true}, {Set: Local}},
	ExternalLocalDrop:       {{}, {Masquerade: true}, {Action: Drop}},
	ExternalLocalNoPods:     {{Set: Local}, {Masquerade: true}, {Set: Local}},
	ExternalLocalNoPodsDrop: {{Action: Drop}, {Masquerade: true}, {Action: Drop}},
	RejectAll:               {{Action: Reject}, {Action: Reject}, {Action: Reject}},
	DropAll:                 {{Action: Drop}, {Action: Drop}, {Action: Drop}},
	AcceptAll:               {{Action: Accept}, {Action: Accept}, {Action: Accept}},
}

// Of returns the decision for a class.
func (p Policy) Of(c Class) Decision { return decisions[p][c] }

// LeadsTo reports whether any class is forwarded to a set.
func (p Policy) LeadsTo(s Set) bool {
	for _, d := range decisions[p] {
		if d.Action == Forward && d.Set == s {
			return true
		}
	}
	return false
}

// Forwards reports whether any class is forwarded.
func (p Policy) Forwards() bool { return p.LeadsTo(Cluster) || p.LeadsTo(Local) }

// Alike reports whether all classes have the same decision.
func (p Policy) Alike() bool {
	return p.Of(FromPod) == p.Of(FromNode) && p.Of(FromPod) == p.Of(FromOutside)
}

// String prints the decision for each class: pod=cluster node=cluster+masquerade outside=local.
func (p Policy) String() string {
	var words []string
	for c := range Classes {
		words = append(words, c.String()+"="+p.Of(c).String())
	}
	return strings.Join(words, " ")
}
