// Package agent is the loop of a node's forwarder: what changed in the Store is built
// into routes, the table takes them, and the dataplane is told the difference.
//
// One goroutine does all of it, in this order:
//
//   - Until the Store is complete it writes nothing: what an earlier process left in the
//     kernel keeps working.
//   - Then the dataplane gets the whole table, and from then on changes only. The first
//     change goes at once; what comes while the kernel is busy goes together after it.
//   - If the kernel refuses, changes go on into the table, and after a pause the
//     dataplane gets the whole table again. Single routes that it refuses are
//     told, and keep no other back.
//   - Every second the dataplane looks whether its rules are still there, and the whole
//     table goes again if they are not; as it does when the host's addresses change.
//   - What is written is followed, not awaited, by the removal of flows that the rules would
//     not lead any more as they do.
//
// The package owns time, retries, logs and metrics. It must not know where objects come
// from nor how rules are made: it takes any Store and any Dataplane.
package agent
