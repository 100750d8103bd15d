//go:build release

package main

// The zone plugins of the cloud vendors, with their large client libraries.
import (
	_ "github.com/coredns/coredns/plugin/azure"
	_ "github.com/coredns/coredns/plugin/clouddns"
	_ "github.com/coredns/coredns/plugin/route53"
)
