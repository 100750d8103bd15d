// Package conntrack removes flows from the kernel's connection tracking that lead to where no rule would send
// them any more: those of UDP, and TCP connections whose first packet has no answer.
//
// A rule decides about the first packet of a flow; the kernel sends the others after
// it. UDP has no end that it could see, so a client that keeps sending from one port
// would talk for ever to a pod that is gone. A UDP flow stays with its backend while that serves, also
// while it terminates, and is removed when it serves no more. DNS has no sessions, so a flow to port 53 is also
// removed from a backend that terminates once no answer is under way: the client's next question from the same
// port is then answered by a backend that stays.
//
// An established TCP connection is left alone: its ends are seen, and a backend that shuts down may finish
// what it began. A connection that met no rule, because its first packet came before the rule, and has no answer is
// removed: the client sends that packet again, which then meets the rule. Without this the kernel would send
// all its packets to the untranslated address. Nothing is lost by it, for no end has seen the other.
// Where it is asked for, a connection is also removed that leads to a backend that is gone and has no answer. And
// what IPVS leads is removed when that is given up.
//
// The package is told which frontends to look at and which backends may keep their
// flows. It must not know why, and it never delays the writing of rules: what it is
// told waits in a queue until the kernel's table is read, once for all that waits.
package conntrack
