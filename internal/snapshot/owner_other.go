//go:build !unix

package snapshot

import (
	"io/fs"
	"os"
)

// checkOwner accepts every file: this system has no owners that it could compare.
func checkOwner(*os.File, fs.FileInfo) error { return nil }
