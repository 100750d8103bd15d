// Package netlab builds small networks of test hosts on one Linux machine, without root and without touching that machine.
//
// It has two halves.
//
// A [Sandbox] runs this same program again inside private user, network, mount, pid and UTS namespaces. Process 1 in
// there is a minimal init of ours; when the starter goes away, however it goes, init ends, and the kernel then kills
// every process of the sandbox and frees its interfaces and mounts. Tests enter one with a single line:
//
//	func TestMain(m *testing.M) { netlab.Enter(); os.Exit(m.Run()) }
//
// A [Lab], built inside a sandbox, is a network: nodes with a bridge each, pods attached to the bridges, a switch that
// connects the nodes, and a machine outside the cluster:
//
//	          switch 172.30.0.1, fd00:30::1
//	     ┌────────────┼──────────────┐
//	  node-1        node-2        outside
//	.0.11, ::11   .0.12, ::12   .0.250, ::250     knows the way to the nodes, not to the pods
//	     │            │
//	10.244.1.1    10.244.2.1                      bridge cbr0, hairpin mode on every port
//	fd00:10:244:1::1  …
//	  ┌──┴──┐      ┌──┴──┐
//	 pod   pod    pod   pod                       .2, .3, … ; default route by the bridge
//
// Each [Host] is one operating system thread with network, mount and UTS namespaces of its own: its own interfaces and
// routes, its own host name, its own /etc/resolv.conf and /etc/hosts. What is started there ([Host.Start]) dies with it.
//
// The package is for tests and for cmd/playground. It imports no other package of this module, knows nothing of
// Services, and must never change anything outside the namespaces that it made itself.
package netlab
