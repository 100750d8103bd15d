// Command cluster is the harness that makes a real Kubernetes for the tests and for people: it compiles the
// pinned programs from their Go modules into the user's cache, once per version of the recipe, and starts a
// cluster of two nodes with them, in namespaces of this machine.
//
//	go -C test/cluster run . build           compile etcd, kube-apiserver and kubectl, print the directory
//	go -C test/cluster run . build cluster   and what else a cluster is made of
//	go -C test/cluster run . build e2e       and Kubernetes's own end-to-end tests
//	go -C test/cluster run . where [GROUP]   print the directory, fail if something is missing
//	go -C test/cluster run . up              start a cluster and leave it running; down ends it
//
// Without arguments it lists all of its verbs.
//
// It is a module of its own, so that Kubernetes, with its replace lines, stays out of the module that
// ships. The command imports nothing of Kubernetes (tools.go only names it): it compiles in a second, and
// the minutes are spent in `go build` children whose progress it shows. It must not write outside the cache
// directory, and what it starts must leave nothing on the machine: see supervisor.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// env is what a command may touch of the outside world.
type env struct {
	stdout io.Writer // results, for scripts
	stderr io.Writer // progress and diagnostics, for people
	cache  string    // the user's cache directory, absolute
	place  string    // the cluster's directory, absolute; empty for the usual one
}

// command is one verb of the command line.
type command struct {
	name  string
	short string
	run   func(ctx context.Context, e *env, args []string) error // args: what follows the verb
}

// commands returns the table of verbs, in the order in which the usage text lists them.
func commands() []command {
	return []command{
		{"build", "compile the missing programs of a GROUP into the cache and print their directory", build},
		{"where", "print the directory of the programs; fails if one of the GROUP is missing", where},
		{"up", "start a cluster of two nodes, or --nodes N, with this repository's DNS and VIPs", up},
		{"down", "end it and remove everything of it but its logs, also after a crash", down},
		{"status", "say what runs", status},
		{"kubeconfig", "print the file with which kubectl reaches it from here", kubeconfig},
		{"kubectl", "run its kubectl with ARGUMENTs", kubectlVerb},
		{"exec", "run a command in a MEMBER: n1, n2, control, outside", execute},
		{"stop", "kill a node or a service of the control plane by its NAME, as a power cut would", stop},
		{"start", "start it again", start},
		{"conformance", "let upstream's own specs judge it, or a cluster that is started for that; -h lists its flags", conformance},
		{"load-image", "give it the images of an ARCHIVE that docker save wrote", loadImage},
	}
}

// errUsage says that the command line made no sense; run answers it with the usage text.
var errUsage = errors.New("usage")

// hidden are verbs that this program gives to itself.
var hidden = map[string]func(argument string) error{
	superviseVerb: supervise,
	enterNodeVerb: enterNode,
	runNodeVerb:   runNode,
}

// runHidden executes such a verb, and does not return then.
func runHidden(args []string) {
	if len(args) != 3 || hidden[args[1]] == nil {
		return
	}
	fmt.Fprintln(os.Stderr, args[1]+":", hidden[args[1]](args[2]))
	os.Exit(1)
}

func main() {
	runHidden(os.Args)
	// Children are told to die with the thread that started them; the main thread lives as long as we do.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cache, err := os.UserCacheDir()
	if err == nil {
		err = run(ctx, &env{stdout: os.Stdout, stderr: os.Stderr, cache: cache}, os.Args[1:])
	}
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run executes the verb that args name.
func run(ctx context.Context, e *env, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(e.stderr)
	flags.Usage = func() { usage(e.stderr) }
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return errUsage
	}
	if flags.NArg() > 0 {
		for _, c := range commands() {
			if c.name == flags.Arg(0) {
				err := c.run(ctx, e, flags.Args()[1:])
				if errors.Is(err, errUsage) {
					usage(e.stderr)
				}
				return err
			}
		}
		fmt.Fprintf(e.stderr, "cluster: unknown command %q\n", flags.Arg(0))
	}
	usage(e.stderr)
	return errUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: go -C test/cluster run . COMMAND [ARGUMENT…]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, "\ngroups, each with those before it:\n\n")
	for _, g := range groups() {
		fmt.Fprintf(w, "  %-11s %s\n", g.name, g.short)
	}
}
