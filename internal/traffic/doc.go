// Package traffic counts what goes to some Services of a node and comes back from them:
// connections, packets and bytes. An operator lists these Services, since every one of
// them is a few series for each node; nobody else is counted, and without a list nothing
// of this is in the kernel.
//
// The numbers are kept by a table of nf_tables of its own. It looks at packets before they
// are translated, and on the way back after they are, so that the numbers mean the same
// whatever routes: a connection counts by what its client dialled, forwarded or refused.
// Packets of everybody else meet a look-up or two that find nothing. A flush by another
// program costs the numbers until then, and the table is made anew.
//
//   - ledger.go decides which addresses and ports are whose, and is pure;
//   - kernel.go writes and reads the table;
//   - counter.go keeps the one like the other, and tells Prometheus.
//
// The package must not change where a packet goes.
package traffic
