// Package agent is the sync loop of a node's forwarder. It builds the Services that changed
// in the Store into routes, sets them in the table and passes the differences to the dataplane.
//
// One goroutine does this, in the following order:
//
//   - Until the Store has synced, the agent writes nothing. The rules of an earlier process
//     keep working.
//   - It then syncs the whole table once. Afterwards it applies changes only: the first
//     change at once, and those that arrive during a write together after it.
//   - If a write fails, changes still update the table. After a pause the agent syncs the
//     whole table again. A rejected route is reported and does not delay other routes.
//   - Every second it asks the dataplane whether the rules are unchanged. If they are not, or
//     if the host's addresses change, it syncs the whole table.
//   - After a write, another goroutine removes the flows that the new rules would treat
//     differently. The loop does not wait for it.
//
// To add something that follows the table (a counter, a report), call it from note or noted in
// write.go with the changes; it must not loop over all Services.
//
// The package owns time, retries, logs and metrics. It must not know where objects come
// from or how rules are made: it takes any Store and any Dataplane.
package agent
