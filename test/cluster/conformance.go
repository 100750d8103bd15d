package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// conformanceOptions are what the command line of the verb says.
type conformanceOptions struct {
	peer, all, write bool
	focus            string
	processes        int
}

func (o conformanceOptions) selection() selection {
	s := conformance23
	if o.all {
		s = allOfNetwork
	}
	if o.focus != "" {
		s.focus = o.focus
	}
	return s
}

// conformanceArguments reads the command line.
func conformanceArguments(e *env, args []string) (conformanceOptions, error) {
	var o conformanceOptions
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(e.stderr)
	flags.BoolVar(&o.peer, "peer", false, "let kube-proxy and the plugin kubernetes be judged as well, and compare what the pods use")
	flags.BoolVar(&o.all, "all", false, "every spec of sig-network that Services and DNS have to do with, not only Conformance")
	flags.BoolVar(&o.write, "write", false, "add the specs that pass to "+listFile)
	flags.StringVar(&o.focus, "focus", "", "only the specs whose names match this expression")
	flags.IntVar(&o.processes, "procs", 0, "specs at a time (default: two for each core, and two)")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return o, errUsage
	}
	return o, nil
}

// conformance lets Kubernetes's own end-to-end tests judge Signpost on a real cluster: the one that runs, or
// one of its own. It fails if a spec of the list fails, or if the tests could not be run.
func conformance(ctx context.Context, e *env, args []string) (err error) {
	o, err := conformanceArguments(e, args)
	if err != nil {
		return err
	}
	listed, err := readList(listFile)
	if err != nil {
		return err
	}
	c, end, err := clusterToJudge(ctx, e, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	sides, used, failed := c.judgeSides(ctx, o)
	if len(sides) == 0 {
		return failed
	}
	fmt.Fprint(e.stdout, table(sides), failures(sides))
	if len(used) > 0 {
		fmt.Fprint(e.stdout, "\n", consumptionTable(used))
	}
	v := judge(listed, sides[0].outcomes)
	for _, name := range v.gained {
		fmt.Fprintln(e.stdout, "passes, and is not listed:", name)
	}
	if o.write {
		if err := writeList(listFile, append(listed, v.gained...)); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stdout, "what the specs printed: %s\n", c.place.file("log", "conformance-*", "log"))
	if len(sides[0].suite) > 0 {
		return errors.Join(failed, v.err(), errors.New("the suite itself failed, see above"))
	}
	return errors.Join(failed, v.err())
}

// clusterToJudge returns a cluster that has everything upstream's specs want, and what ends it if it was
// started here.
func clusterToJudge(ctx context.Context, e *env, o conformanceOptions) (c *cluster, end func() error, err error) {
	want, err := programs("e2e")
	if err != nil {
		return nil, nil, err
	}
	bin := directory(e.cache)
	if err := install(ctx, e, bin, want); err != nil {
		return nil, nil, err
	}
	p, err := placeOf(e)
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.running(); err == nil {
		fmt.Fprintf(e.stderr, "the cluster in %s is judged as it runs\n", p)
		c := &cluster{e: e, place: p, bin: bin, begun: time.Now()}
		return c, func() error { return nil }, c.giveImages(ctx)
	}
	if o.all {
		nodeNames = namesOfNodes(3) // some specs skip themselves where there are fewer
	}
	if c, err = startCluster(ctx, e); err != nil {
		return nil, nil, err
	}
	end = func() error { return down(context.WithoutCancel(ctx), e, nil) }
	if err := c.applyProduct(ctx); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return c, end, nil
}

// giveImages gives the images of the specs to a cluster that may have started before they were built.
func (c *cluster) giveImages(ctx context.Context) error {
	archives, err := images(ctx, c.e)
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if _, err := c.place.ask(http.MethodPost, "/load", url.Values{"archive": {archive}}); err != nil {
			return err
		}
	}
	return nil
}

// judgeSides runs the specs against Signpost and, if wanted, against the peers, and measures what the pods of
// both use. With an error it returns the sides that were judged before.
func (c *cluster) judgeSides(ctx context.Context, o conformanceOptions) ([]side, []measured, error) {
	ours, used, err := c.judgeSide(ctx, o, "signpost", []string{"coredns", "forwarder"})
	if err != nil {
		return nil, nil, err
	}
	if !o.peer {
		return []side{ours}, nil, nil
	}
	sides, all := []side{ours}, []measured{used}
	err = c.toPeer(ctx)
	if err != nil {
		err = fmt.Errorf("put the peers in place: %w", err)
	} else {
		theirs, usedByThem, failed := c.judgeSide(ctx, o, "peer", []string{"coredns", "kube-proxy"})
		if err = failed; err == nil {
			sides, all = append(sides, theirs), append(all, usedByThem)
		}
	}
	// Whatever happened, the cluster is left as it was found, and what is known is told.
	if back := c.fromPeer(context.WithoutCancel(ctx)); back != nil {
		err = errors.Join(err, fmt.Errorf("put Signpost back in place: %w", back))
	}
	return sides, all, err
}

// How long the pods are watched without load, and how often the kubelet measures them (its housekeeping is
// every ten seconds, with jitter).
const (
	idleTime  = 30 * time.Second
	housekeep = 20 * time.Second
)

func (c *cluster) judgeSide(ctx context.Context, o conformanceOptions, name string, containers []string) (side, measured, error) {
	m := measured{name: name}
	measure := func(to *[]consumption, after time.Duration) error {
		if !o.peer {
			return nil // nothing to compare with
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(after):
		}
		var err error
		*to, err = c.consumption(ctx, containers)
		return err
	}
	if err := measure(&m.early, housekeep); err != nil {
		return side{}, m, err
	}
	if err := measure(&m.before, idleTime); err != nil {
		return side{}, m, err
	}
	all, err := c.runSpecs(ctx, o.selection(), name, c.place.file("log", "conformance-"+name), o.processes)
	if err != nil {
		return side{}, m, err
	}
	return side{name: name, outcomes: all}, m, measure(&m.after, housekeep)
}
