//go:build tools

package main

// The commands that build compiles, named here so that go.mod and go.sum keep what they need. No build of
// this module ever sets the tag.
import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
