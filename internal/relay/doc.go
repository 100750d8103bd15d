// Package relay serves NodePorts on loopback addresses in modes whose rules do not: it takes the TCP connections
// of the node's processes and connects them to endpoints.
//
// The kernel sends no packet from a loopback address to another machine, unless route_localnet lets other machines
// send to loopback addresses, too. A process in between needs no such setting. Connections through it end
// with the process.
//
// The package must not know how routes are made: it follows the changes of a table.
package relay
