// Package conntrack removes UDP flows from the kernel's connection tracking that lead
// to where no rule would send them any more, and TCP connections that did not come about.
//
// A rule decides about the first packet of a flow; the kernel sends the others after
// it. UDP has no end that it could see, so a client that keeps sending from one port
// would talk for ever to a pod that is gone. An established TCP connection is left alone:
// its ends are seen, and a backend that shuts down may finish what it began. Where it is
// asked for, one whose first packet nobody has answered is removed: then the client's next
// attempt leads to a backend that is there. And what IPVS leads is removed when that is
// given up.
//
// The package is told which frontends to look at and which backends may keep their
// flows. It must not know why, and it never delays the writing of rules: what it is
// told waits in a queue until the kernel's table is read, once for all that waits.
package conntrack
