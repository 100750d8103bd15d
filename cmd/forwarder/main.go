// Command forwarder routes the virtual addresses of Services on a node. It replaces
// kube-proxy: one process per node, with kube-proxy's flags and configuration file.
//
//	forwarder [flags]        run until SIGTERM; the rules stay
//	forwarder plan [flags]   print the table and the rules, and change nothing
//	forwarder explain SOURCE[@INTERFACE] DESTINATION:PORT[/PROTOCOL] [flags]
//	                         print what happens to a packet, and why
//
// Words and flags may be in any order.
//
// The command is wiring: package config reads the configuration, package node and a source
// provide the facts, package vip builds the table, and package agent writes it to the
// kernel through a dataplane.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// environment is the process's access to the outside, except the kernel.
type environment struct{ stdout, stderr io.Writer }

func main() {
	setTimerSlack()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], environment{os.Stdout, os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "forwarder:", err)
		os.Exit(1)
	}
}

// run executes the arguments and returns when it is done or ctx is.
func run(ctx context.Context, args []string, env environment) error {
	var refused error
	words := config.Arguments(args)
	c, err := config.Load(args)
	if errors.Is(err, config.ErrHelp) {
		_, err = fmt.Fprintf(env.stdout, "Usage:\n  forwarder [flags]        route the addresses of Services on this node\n"+
			"  forwarder plan [flags]   print the table and the rules, and change nothing\n  "+explainUsage+
			"\n                           print what happens to a packet, and why\n\nSOURCE is an address, pod/NAME or pod/NAMESPACE/NAME, DESTINATION an address or "+
			"a Service such as web.default.\n\nFlags:\n%s", config.Usage())
		return err
	}
	if len(words) > 0 {
		if err != nil {
			return err
		}
		return show(ctx, words, c, env)
	}
	if err != nil {
		refused = err
		c, err = fallBack(args, env.stderr, err)
	}
	if err != nil {
		return err
	}
	switch {
	case c.Flags.Version:
		_, err = fmt.Fprintln(env.stdout, "forwarder", version())
		return err
	case c.Flags.WriteConfigTo != "":
		return writeConfig(c)
	case c.Flags.Cleanup:
		return cleanup(ctx, c, newLog(c, env.stderr))
	case c.Flags.InitOnly:
		log := newLog(c, env.stderr)
		err := prepare(c, log)
		if _, there := adopted(c, log); err != nil && there {
			log.Error("the node is not prepared as configured; it has rules from before, which go on", "error", err)
			err = nil
		}
		return err
	}
	return forward(ctx, c, env, refused)
}

// show executes a command that changes nothing on the node.
func show(ctx context.Context, words []string, c *config.Config, env environment) error {
	if f := c.Flags; f.Cleanup || f.InitOnly || f.WriteConfigTo != "" {
		return fmt.Errorf("argument %q with --cleanup, --init-only or --write-config-to: want one of them", words[0])
	}
	unknown := words[0]
	switch {
	case c.Flags.Version:
		_, err := fmt.Fprintln(env.stdout, "forwarder", version())
		return err
	case unknown == "plan" && len(words) > 1:
		unknown = words[1]
	case unknown == "plan":
		return plan(ctx, c, env)
	case unknown == "explain" && len(words) == 3:
		q, err := asked(words[1], words[2])
		if err != nil {
			return fmt.Errorf("%w: want %s", err, explainUsage)
		}
		return explain(ctx, c, env, q)
	case unknown == "explain":
		return fmt.Errorf("explain %q: want %s", strings.Join(words[1:], " "), explainUsage)
	}
	return fmt.Errorf("argument: got %q, want plan or explain, or flags only, each with two dashes (forwarder --help lists them)", unknown)
}

// cleanup removes everything that a forwarder or a kube-proxy wrote to the kernel. It fails
// while a forwarder runs, which would rewrite its rules. The rules of a running kube-proxy
// are in use and stay.
func cleanup(ctx context.Context, c *config.Config, log *slog.Logger) error {
	release, err := claim(log)
	if err != nil {
		return fmt.Errorf("remove the rules: %w: stop it first", err)
	}
	defer release()
	warnOf(c.Notes, log)
	peerRuns := healthcheck.Other(ctx, healthAddress(c))
	if peerRuns {
		log.Info("a kube-proxy runs on this node: its rules stay", "healthAddress", healthAddress(c))
		if err := waitForPeer(ctx, c, log); err != nil {
			return err
		}
	}
	if err := removeOthers(ctx, c, "", nil, peerRuns, log); err != nil {
		return fmt.Errorf("remove the rules: %w", err)
	}
	return nil
}

func writeConfig(c *config.Config) error {
	text, err := c.YAML()
	if err == nil {
		err = os.WriteFile(c.Flags.WriteConfigTo, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the configuration to the file of --write-config-to: %w", err)
	}
	return nil
}

// version returns the version of the module and of Go.
func version() string {
	v, revision := build()
	if revision != "" {
		revision = ", " + revision
	}
	return fmt.Sprintf("%s (%s, %s/%s%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH, revision)
}
