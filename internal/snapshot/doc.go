// Package snapshot keeps a cluster.Store on a local disk, so that a process which
// is started again while the Kubernetes API is away has the last known state at
// once.
//
// A [Keeper] reads the snapshot into a Store before its feed begins, and writes
// it behind the Store's back while the feed runs: in a goroutine of its own, at a
// bounded rate, by a temporary file that is synced and then renamed. A disk that
// is full, slow or read-only costs nothing but the snapshot. Whatever is wrong
// with a file is said in one log line, and the process starts without it.
//
// A file is one line of text with the number of the format, a gob stream
// (encoding/gob) of a [Header] and the objects, and the SHA-256 sum of all that.
// It is taken only by a process with the same model, for the same identity; so
// the model may grow without a thought for old files.
//
// The package must not know who feeds the Store or reads it.
package snapshot
