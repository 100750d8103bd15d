// Package nftables makes the kernel route what a vip.Table says, by netlink and
// without the nft tool.
//
// There is one table per address family, `ip signpost` and `ip6 signpost`. Services
// are elements of its sets. Rules and sets do not depend on the number of Services, but on
// the kinds of them that there are. The kinds are bounded, whatever objects say: groups (44), classes of
// sizes (238), lengths of source ranges (34 or 130, for NodePorts and for others) and timeouts of affinity (32). All of
// them together are 1 MB of messages (TestStructureFitsIntoTransactions), which are sent in as many transactions as
// the socket requires.
//
//	set masquerade-node-outside { address . protocol . port }      the frontends of a group: those treated alike
//	map backends-tcp-8 { address . port . slot : pod . port }      the backends of a class: of frontends with 5 to 8
//	map local-backends-tcp-8                                       the same of those on this node, for decisions that say so
//	set reject-all { address . protocol . port }                   a group that refuses
//	set restricted, sources-24 { … . network }                     the frontends that have source ranges, and these
//	map affinity { owner . place : backend }, affinity-…           session affinity: see affinity.go and memory.go
//	set node-masquerade-all, map node-backends-tcp-4, …            NodePorts, without the address
//	set node-addrs { address }                                     of this node, that serve NodePorts
//	set pod-cidrs { network }                                      tells pods from the rest
//	set hairpin { pod . pod }                                      pods of this node that may dial themselves
//	set cluster-ips { address }, service-cidrs { network }         what no frontend is: refused, or dropped
//
// Groups, classes and what affinity and source ranges take are made when the first
// frontend needs them. A packet passes
//
//	refuse → sources, chain of a group that refuses                 before translation, and where nothing is to be translated
//	services → chain of a group, marks for masquerading → forward → forward-tcp → draw-tcp → a backend
//	                                                     → affinity, of a group with session affinity → a backend
//	affinity-prove → whom it remembers, of packets that prove their source
//	rest → what is still sent to a ClusterIP has no port there
//	postrouting → masqueraded if it is marked, or in set hairpin
//
// Source ranges are looked up by the length of their networks, one rule for each length:
// a set of intervals with the frontend in the key would be one that the kernel copies as
// a whole for each change.
//
// A frontend with N backends uses the slots 0 to N-1 of the class of the next power
// of two. draw-tcp draws a slot below that size, and forward-tcp draws again if
// there was none (chains.go). So one more backend is one more element, and a
// frontend moves to another map only when N crosses a power of two.
//
// No element leads to a chain, although a map from frontend to chain would be the
// obvious way: the kernel follows every element of such a map again, through all
// rules behind it, whenever one of them changes. (Measured with 50,000 Services:
// 207 ms for each Service that comes, goes, or crosses a power of two, and 0.09 ms
// without.)
//
// The package is layered as decide, render, apply. What to do is decided by
// internal/vip. Layout, groups, chains, slots, Owners and operations on elements are pure
// (layout.go, group.go, chains.go, affinity.go, memory.go, slots.go, owners.go, render.go, text.go);
// the rest talks to the kernel. It must know nothing of Services beyond the name in a comment.
package nftables
