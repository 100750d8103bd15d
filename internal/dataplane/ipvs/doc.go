// Package ipvs makes the kernel route what a vip.Table says by IPVS, which has schedulers that
// no rules have, and lists for operators who know ipvsadm. It works by netlink and starts no program
// but one modprobe ip_vs when it is opened.
//
//	virtual server VIP:port, node address:NodePort    → its backends, by the scheduler of the Service
//	virtual server of a firewall mark                 → the backends of this node, see below
//	interface kube-ipvs0                              has all VIPs: IPVS sees only packets for the node itself
//	table ip signpost-ipvs, ip6 signpost-ipvs         the companion: nf_tables does what IPVS cannot
//
// The companion looks at packets that begin a connection before IPVS does, and by the class of their source
// refuses them, drops them, or marks them for masquerading; it drops what source ranges do not let in. Its
// rules do not depend on the Services, only the elements of its sets do:
//
//	set reject-pod, drop-pod, masquerade-pod, … -node, … -outside    { address . protocol . port }
//	map marks-pod, marks-node, marks-outside                         { address . protocol . port : mark }
//	set restricted, sources                                          frontends with source ranges, and these
//	set vips { address }                                             those of kube-ipvs0: other ports there are refused,
//	                                                                 and no other rule translates what is sent there
//	set hairpin { pod . pod }                                        pods of this node that may dial themselves
//
// # Policies that are Local
//
// A virtual server cannot vary by client. Where some classes of clients get the backends of the cluster and
// others those of this node (externalTrafficPolicy: Local, whose pods and nodes get all), the virtual server of
// the address has those of the cluster, and the companion leads the other classes by a firewall mark to a virtual
// server of their own. ipvsadm -L -n lists it as
//
//	TCP  203.0.113.7:80 rr                 what pods and the node itself get
//	  -> 10.244.1.5:8080  Masq    1 …
//	  -> 10.244.2.7:8080  Masq    1 …
//	FWM  1396786417 rr                     what comes from outside gets
//	  -> 10.244.1.5:8080  Masq    1 …
//
// Which mark that is: nft list map ip signpost-ipvs marks-outside. Its first byte is always 0x53.
//
// # What differs from the other modes
//
// The address of a Service is the node's own: what nobody serves there is refused, also at the addresses of load
// balancers and external ones, which the other modes leave alone. A client is remembered (session affinity) for each
// frontend by itself, and while connections of it last, also after the time of the affinity. Behind a
// firewall mark affinity is by the client's address (scheduler mh). A Service that is deleted ends its connections.
//
// The node dials VIPs from its own address, as in the other modes, because the local route to each names it as the
// source.
//
// A backend that goes keeps its TCP and SCTP connections: it gets weight 0, and goes when they have ended. One of
// UDP goes as soon as what it was asked before has been answered; a client that just sends may lose one datagram.
// Weights that somebody changed stay; new backends have weight 1.
//
// When another mode takes over, what IPVS leads needs its virtual servers: the kernel goes on with a connection only
// as long as they are there. So they stay for a while (cmd/forwarder).
//
// The package is layered as decide, render, apply. What to do is decided by internal/vip. model.go, layout.go,
// plan.go and render.go are pure; apply.go, servers.go, link.go and rules.go talk to the kernel.
package ipvs
