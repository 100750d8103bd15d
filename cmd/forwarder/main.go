// Command forwarder routes the virtual addresses of Services on a node: one process
// per node, in place of kube-proxy. It takes kube-proxy's flags and configuration file.
//
//	forwarder [flags]        run until SIGTERM; the rules stay
//	forwarder plan [flags]   print the table and the rules, and change nothing
//	forwarder explain SOURCE[@INTERFACE] ADDRESS:PORT[/PROTOCOL] [flags]
//	                         print what becomes of a packet, and why
//
// The command is wiring: what is wanted comes from package config, what is there from
// package node and a source, what is to be done from package vip, and package agent
// brings it into the kernel.
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
	"syscall"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// environment is what the process gets from outside, but for the kernel.
type environment struct{ stdout, stderr io.Writer }

func main() {
	relax()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], environment{os.Stdout, os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "forwarder:", err)
		os.Exit(1)
	}
}

// run does what the arguments say and returns when it is done or ctx is.
func run(ctx context.Context, args []string, env environment) error {
	var refused error
	do := func(ctx context.Context, c *config.Config, env environment) error {
		return forward(ctx, c, env, refused)
	}
	routes := len(args) == 0 || args[0] != "plan" && args[0] != "explain"
	switch {
	case len(args) > 0 && args[0] == "plan":
		do, args = plan, args[1:]
	case len(args) > 0 && args[0] == "explain":
		var err error
		if do, args, err = explaining(args[1:]); err != nil {
			return err
		}
	}
	c, err := config.Load(args)
	if errors.Is(err, config.ErrHelp) {
		_, err = fmt.Fprintf(env.stdout, "Usage:\n  forwarder [flags]        route the addresses of Services on this node\n"+
			"  forwarder plan [flags]   print the table and the rules, and change nothing\n  "+explainUsage+
			"\n                           print what becomes of a packet, and why\n\nFlags:\n%s", config.Usage())
		return err
	}
	if err != nil && routes {
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
		if _, there := adopted(log); err != nil && there {
			log.Error("the node is not prepared as configured; it has rules from before, which go on", "error", err)
			err = nil
		}
		return err
	}
	return do(ctx, c, env)
}

// cleanup leaves nothing of ours in the kernel, nor of a kube-proxy. A forwarder that runs
// would only write it again, so there must be none; the rules of a kube-proxy that runs
// are in use.
func cleanup(ctx context.Context, c *config.Config, log *slog.Logger) error {
	release, err := claim(log)
	if err != nil {
		return fmt.Errorf("removing the rules: %w: stop it first", err)
	}
	defer release()
	warnOf(c.Notes, log)
	peerRuns := healthcheck.Other(ctx, healthAddress(c))
	if peerRuns {
		log.Info("a kube-proxy runs on this node: its rules stay", "answers at", healthAddress(c))
		if err := waitForPeer(ctx, c, log); err != nil {
			return err
		}
	}
	if err := removeOthers(ctx, c, "", nil, peerRuns, log); err != nil {
		return fmt.Errorf("removing the rules: %w", err)
	}
	return nil
}

func writeConfig(c *config.Config) error {
	text, err := c.YAML()
	if err == nil {
		err = os.WriteFile(c.Flags.WriteConfigTo, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the configuration to the file of --write-config-to: %w", err)
	}
	return nil
}

// version is what the module was built from.
func version() string {
	v, revision := build()
	if revision != "" {
		revision = ", " + revision
	}
	return fmt.Sprintf("%s (%s, %s/%s%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH, revision)
}
