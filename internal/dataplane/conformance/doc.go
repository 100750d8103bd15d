//go:build linux

// Package conformance holds the packet scenarios that every dataplane must pass, on
// a real kernel, and plays them in network namespaces. A dataplane's own test calls
// [Run]; this package knows none of them.
//
// # The scenarios
//
// They are text, in scenarios/*.txt, so that they can be read, and played by others:
//
//	scenario a ClusterIP leads pods to every backend
//	fails under always-masquerade one-backend
//	service web at cluster-ip-1 port 80/tcp to 8080 endpoints local-1 remote-1
//	ask client,far-client tcp cluster-ip-1:80 -> local-1 remote-1 kept
//	endpoints web remote-1
//	ask local-1 tcp cluster-ip-1:80 -> remote-1 kept
//
// A line is a statement; an indented line continues the one before; # begins a
// comment. The statements after the name are played in order:
//
//	fails under MUTANT…      with which faults of a dataplane the scenario must not pass: see mutants.go
//	needs WORD…              what not every dataplane can: see needs.go. One that cannot skips the scenario and says why
//	config WORD…             masquerade-all; service-cidrs: where ClusterIPs come from is known; wide-service-cidrs: these
//	                         ranges take in nodes and pods; unaware-of-overlaps: and the dataplane does not know that; every-address of
//	                         a node serves NodePorts; no-pod-cidrs: pods cannot be told from the rest; pods-by-bridge, pods-by-prefix: they are
//	                         told by the interface that they come in by; guarded: the ports 22 and 10250 of nodes are no Service's
//	service NAME …           makes a Service, or replaces it: at ADDRESS… [families FAMILY] [created SECONDS]
//	                         [internal local] [external local] [affinity SECONDS] [sources NETWORK,…] [proxied ADDRESS,…] [takes ADDRESS,…]
//	                         {port [NAME:]NUMBER/PROTOCOL [to NUMBER] [node-port NUMBER]} [endpoints …]
//	                         A NETWORK is everybody, pods, nodes, outside or elsewhere; it takes as external IPs what another has:
//	                         the ClusterIP of a Service, or node-1
//	endpoints NAME HOST…     replaces its endpoints; HOST(MARK,…) is special: unready, terminating, dying (terminates
//	                         and does not serve), ipv4, ipv6 (in this family only), for-zone-N, for-node-N (hints)
//	delete NAME              deletes a Service or a route
//	route NAME ADDRESS:PORT/PROTOCOL pod=DECISION node=DECISION outside=DECISION [to HOST[:PORT]…]
//	                         [local HOST[:PORT]…] [sources HOST…] [affinity SECONDS]
//	                         a frontend without a Service; the DECISIONs are those of a vip.Policy;
//	                         ADDRESS node-port is any address of the node; local is for decisions that say so
//	restart                  closes the dataplanes and opens them again
//	ask HOST PROTOCOL ADDRESS:PORT -> OUTCOME
//	                         each may be a list with commas; ask4 and ask6 ask in one IP family only
//	hold NUMBER HOST ADDRESS:PORT
//	                         opens TCP connections and keeps them
//	held -> OUTCOME          uses them for the first time, and closes them
//
// An outcome is one of
//
//	HOST[:PORT]… kept        each of these answers some of the connections, nobody else does, and they see the
//	                         address that the client used
//	HOST[:PORT]… masqueraded … they see the address that the entry node has on its interface to them
//	refused                  at once and every time; TCP by a reset, for ICMP is rate-limited
//	dropped                  no answer at all
//	untouched                the packet goes on to where the routes lead
//
// Several may be joined by commas, and end in ", evenly", or in ", after N": a connection every N seconds.
// "one of" before them means that one of them answers, each time the same; "the same of", that it is the one
// that the client met by the last such question. A port that is left out is 8080. The entry node is
// the one whose dataplane meets the packet first: the node whose address was dialled, or else the client's own, or
// node-1 for the client outside.
//
// # The network
//
// Both nodes run the dataplane. Everything exists in IPv4 and IPv6, and every ask is made in both.
//
//	node-1   in zone-1; the pods client, stranger, local-1 … local-5; a second address, node-1-second, that serves no NodePorts
//	node-2   in zone-2; the pods far-client, remote-1 … remote-4
//	outside  routes cluster-ip-N, external-ip-N and load-balancer-N by node-1
//
// Every pod answers on the ports 8080 to 8083, TCP, UDP and (if the kernel has it) SCTP, and tells its name and the
// client's address; so do the nodes. No dataplane should lead to the stranger. Where a packet goes that no dataplane touches, a
// witness answers: untouched is seen, not guessed from silence.
package conformance
