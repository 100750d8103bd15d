// Package snapshot keeps a cluster.Store on a local disk, so that a process that restarts
// while the Kubernetes API is unavailable has the last known state at once.
//
// A [Keeper] reads the snapshot into a Store before its feed starts. While the feed runs, it
// writes snapshots in a goroutine of its own and at a bounded rate, to a temporary file that
// it syncs and renames. A disk that is full, slow or read-only costs only the snapshot. An
// error in a file is one log line, and the process starts without the file.
//
// A file is one line of text with the number of the format, a gob stream
// (encoding/gob) of a [Header] and the objects, and the SHA-256 sum of all that.
// Only a process with the same model and the same identity uses it, so the model may change
// without regard to old files.
//
// The package must not know what feeds the Store or reads it.
package snapshot
