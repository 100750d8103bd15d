// Package node knows the machine that the forwarder runs on: its name, its addresses
// as rtnetlink tells them, which of them serve NodePorts, the kernel's settings that
// forwarding needs, how many connections it tracks, and whether another forwarder is at work here.
//
// It finds facts and sets sysctls, all in the network namespace of the process. It must
// not know frontends, rules or the configuration file; what is done with the facts
// is decided by others.
package node
