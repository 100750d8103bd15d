// Package node provides facts about the machine that the forwarder runs on: its name, its
// addresses from rtnetlink, which of them serve NodePorts, the kernel settings that
// forwarding needs, the number of tracked connections, and whether another forwarder runs.
//
// It reads facts and sets sysctls, all in the network namespace of the process. It must
// not know frontends, rules or the configuration file: its callers decide what to do with
// the facts.
package node
