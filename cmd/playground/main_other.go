//go:build !linux

// Command playground shows the whole of Signpost on one Linux machine.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "playground: this needs a Linux kernel: run it in a virtual machine, or in a container with "+
		"docker run --privileged")
	os.Exit(1)
}
