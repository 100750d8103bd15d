//go:build linux

// Command playground shows the whole of Signpost on one Linux machine, without a cluster and without root.
//
//	go run ./cmd/playground [flags] [-- COMMAND…]
//
// It enters private namespaces, builds two nodes, pods, a client and a machine outside the cluster from network
// namespaces, starts the pods of manifests/examples, the real coredns and a real forwarder on each node, and walks
// through the whole way, name → VIP → pod, with each result on the screen. The exit code is 0 only if every step held. At a terminal it then stays, with a
// shell in the client. With a COMMAND it skips the walk, runs the command in the client and passes its exit code on
// (go run itself turns every code but 0 into 1).
//
// The playground plays the parts of Kubernetes that are not there: API server, controllers, scheduler and kubelets. They
// talk to coredns and the forwarders as a folder of manifests. What is being shown is not played: these are the programs of
// cmd/coredns and cmd/forwarder.
//
// It must not change anything outside of its namespaces and of one temporary folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func main() {
	netlab.Init()
	os.Exit(run(context.Background(), os.Args, environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
	}))
}

// environment is what a process has from outside beside its arguments.
type environment struct {
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
}

// Exit codes beside 0 and those of a COMMAND.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitStopped = 130 // as a shell says of a program that was interrupted
)

// An applet is one of the programs that this binary also is. Those of the client are found by their own names, too.
type applet struct {
	name string
	run  func(ctx context.Context, args []string, env environment) int
}

// applets are a function, for inside itself leads to them.
func applets() []applet {
	return []applet{
		{"lookup", runLookup},
		{"fetch", runFetch},
		{"pod", runPod},
		{"inside", runInside},
	}
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	for _, a := range applets() {
		switch {
		case filepath.Base(args[0]) == a.name:
			return a.run(ctx, args[1:], env)
		case len(args) > 1 && args[1] == a.name:
			return a.run(ctx, args[2:], env)
		}
	}
	o, err := parseOptions(args[1:], env.stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return exitUsage // flag has printed it
	}
	return runOutside(ctx, o, env)
}

// options are those of the command line.
type options struct {
	coredns   string   // a ready binary instead of a build
	forwarder string   // likewise
	command   []string // to run in the client instead of the walk
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("playground", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.coredns, "coredns", "", "a coredns `binary` to use; by default cmd/coredns is built")
	flags.StringVar(&o.forwarder, "forwarder", "", "a forwarder `binary` to use; by default cmd/forwarder is built")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: playground [flags] [-- COMMAND…]")
		fmt.Fprintln(stderr, "Shows Signpost at work in private namespaces, or runs one COMMAND in its client.")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.command = flags.Args()
	if before := args[:len(args)-len(o.command)]; len(o.command) > 0 && (len(before) == 0 || before[len(before)-1] != "--") {
		err := fmt.Errorf("unexpected argument %q: a command comes after --", o.command[0])
		fmt.Fprintln(stderr, err)
		flags.Usage()
		return o, err
	}
	return o, nil
}
