// Package nftables makes the kernel route what a vip.Table says, by netlink and
// without the nft tool.
//
// There is one table per address family, `ip signpost` and `ip6 signpost`, with a
// fixed number of sets and maps whatever the number of Services, because every
// further set costs the kernel a walk over all others:
//
//	map frontends    { address . protocol . port : goto chain }
//	map nodeports    { protocol . port : goto chain }        on the addresses in set node-addrs
//	chain masquerade-tcp-8                                   shared by all frontends that are treated alike
//	map backends-tcp { address . port . slot : pod . port }  one per protocol; node-backends-tcp { port . slot : … }
//	map refused      { address . protocol . port : goto chain }, refused-nodeports
//	set hairpin      { pod . pod }                           pods of this node that may dial themselves
//	set pod-cidrs    { network }                             tells pods from the rest
//
// A frontend with N backends uses the slots 0 to N-1. Its chain is the one of the
// next power of two: it draws a slot below that, and draws again when there is no
// such slot. So a verdict changes only when N crosses a power of two, which is
// what the kernel charges for: it validates the whole map of verdicts again.
//
// The package is layered as decide, render, apply. What to do is decided by
// internal/vip. Layout, chains, slots and element operations (layout.go,
// chains.go, slots.go, render.go, text.go) are pure; only the rest talks to the
// kernel. It must know nothing of Services beyond the name in a comment.
package nftables
