// Package vip decides, once for all dataplanes, what happens to a packet that is
// sent to a Service: which frontends exist on this node, who may use them, which
// backends answer, and whether the source address is masqueraded.
//
// It is pure. It must not know the kernel, the Kubernetes API or the clock, and
// nothing in it loops over all Services when one changes: Build reads one
// Service, Table.Set replaces one Service's frontends and tells what differs.
package vip
