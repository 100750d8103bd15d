// Package iptables makes the kernel route what a vip.Table says with the rules that
// operators of kube-proxy know, by the programs iptables-save and iptables-restore,
// of nft or of legacy, whichever the node uses already.
//
//	nat     PREROUTING, OUTPUT → KUBE-SERVICES → KUBE-SVC-…           a ClusterIP: draws KUBE-SEP-…, a backend: DNAT
//	                                           → KUBE-EXT-…           any other address: marks, and goes on to
//	                                                                  KUBE-SVC-… or KUBE-SVL-…, the backends of this node
//	                                           → KUBE-FW-…            a load balancer's, for some sources only
//	                                           → KUBE-NODEPORTS       last, if the address is one of the node
//	        POSTROUTING → KUBE-POSTROUTING                            masquerades what KUBE-MARK-MASQ marked
//	filter  INPUT, FORWARD, OUTPUT → KUBE-PROXY-FIREWALL              drops what no range of sources let through
//	                               → KUBE-SERVICES, KUBE-EXTERNAL-SERVICES, KUBE-OTHER-PORTS: what nat did not
//	                                 translate is refused or dropped
//
// Names, hashes and probabilities are kube-proxy's, so that `iptables-save | grep` reads
// as before and each adopts what the other left. What differs from kube-proxy: TCP is
// refused by a reset, and refused also when the node itself dials an external address; other
// ports of a ClusterIP are refused; a change writes the rules of the Service port that changed
// and one line of the shared chains, not all lines of them.
//
// The kernel remembers clients for affinity in lists of xt_recent, which by default hold a
// hundred clients for each backend (module parameter ip_list_tot).
//
// Other programs change the same tables. Tick finds a flush at once, a change of the jumps and the shared
// chains within the syncPeriod, and any other change within an hour.
//
// The package is layered as decide, render, apply. What to do is decided by internal/vip.
// names.go, rule.go, base.go, render.go, ruleset.go, script.go and save.go are pure; apply.go, intact.go and
// probe.go start programs. It must know nothing of Services beyond the names in comments and hashes.
package iptables
