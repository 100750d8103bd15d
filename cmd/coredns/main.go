// Command coredns is CoreDNS with the plugin signpost, placed right before
// kubernetes in the chain. It keeps all of CoreDNS's flags, directives and their
// order; kubernetes is compiled in as well, as peer and as the way back.
//
// The zone plugins of the cloud vendors are left out, which makes the build about
// seven times faster and the program smaller: build with -tags release to have them.
package main

import (
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func main() {
	if err := dnsserver.SetDirectives(directives(dnsserver.Directives)); err != nil {
		panic(err) // two plugins of one name: a mistake in this package
	}
	coremain.Run()
}

// directives are CoreDNS's own with ours before kubernetes: where both are in one
// server block, ours answers.
func directives(all []string) []string {
	return slices.Insert(slices.Clone(all), slices.Index(all, "kubernetes"), "signpost")
}
