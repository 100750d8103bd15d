// Package relay serves NodePorts on loopback addresses in modes whose rules cannot: it accepts the TCP connections
// of the node's processes and connects them to endpoints.
//
// The kernel sends no packet from a loopback address to another machine, unless route_localnet allows other machines
// to send to loopback addresses as well. A process in between needs no such setting. Its connections end with the
// process.
//
// The package must not know how routes are made: it follows the changes of a table.
package relay
