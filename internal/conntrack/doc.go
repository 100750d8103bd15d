// Package conntrack removes stale flows from the kernel's connection tracking: UDP flows to backends that no longer
// serve, and TCP connections without a reply whose first packet met no rule.
//
// A rule decides about the first packet of a flow; the kernel sends later packets the same way. UDP flows have no end
// that the kernel can see, so a client that keeps sending from one port would reach a removed pod forever. A UDP flow
// stays with its backend while the backend serves, even while it terminates, and is removed afterwards. DNS has no
// sessions: a flow to port 53 also ends at a terminating backend once it is silent, so that the client's next query from
// the same port reaches a backend that stays. The kernel ends it: the package sets the flow's timeout to a second, and the
// next packet sets the whole timeout again. No reply is lost, because nothing is removed between a query and its reply.
//
// Established TCP connections are left alone: the kernel sees their end, and a terminating backend may finish
// its work. A connection without a reply is removed if its first packet came before the rules. The client then resends
// that packet, which meets the rule; otherwise the kernel would send all its packets to the untranslated address.
// No data is lost, because neither end has seen the other. With half-open cutting enabled, a connection without a reply
// to a removed backend is removed as well. Release removes the flows that IPVS handles when IPVS mode is replaced.
//
// The package gets the frontends to check and the backends that may keep their flows. It must not know why, and it
// never delays the writing of rules: checks wait in a queue, and one reading of the kernel's table serves all of them.
package conntrack
