// Package traffic counts the traffic of selected Services on a node: connections, packets and
// bytes in both directions. An operator lists these Services, because each of them costs a few
// series per node. Other Services are not counted, and without a list the package writes
// nothing to the kernel.
//
// An nf_tables table of its own keeps the counters. It sees packets before they are
// translated, and replies after they are translated back, so that the numbers mean the same in
// every mode: a connection counts for the address and port that its client used, forwarded or
// refused. Other packets pass one or two lookups without a match. If another program flushes
// the table, the counters are lost and the table is recreated.
//
//   - ledger.go decides which addresses and ports belong to which Service; it is pure.
//   - kernel.go writes and reads the table.
//   - counter.go keeps the table equal to the ledger and exports the metrics.
//
// The package must not change where a packet goes.
package traffic
