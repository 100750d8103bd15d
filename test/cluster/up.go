package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// up starts a cluster with this repository's DNS and VIPs in it, and leaves it running.
func up(ctx context.Context, e *env, args []string) error {
	count := 0
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(e.stderr)
	flags.IntVar(&count, "nodes", len(nodeNames), fmt.Sprintf("how many nodes, up to %d", mostNodes))
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	if count < 1 || count > mostNodes {
		return fmt.Errorf("--nodes %d: want 1 to %d", count, mostNodes)
	}
	nodeNames = namesOfNodes(count)
	c, err := startCluster(ctx, e)
	if err != nil {
		return err
	}
	if err := c.applyProduct(ctx); err != nil {
		return fmt.Errorf("%w\nthe cluster still runs, to look at it; `%s` ends it", err, downCommand)
	}
	fmt.Fprintf(e.stderr, "\nkubectl is %s\n\n    export KUBECONFIG=$(go -C test/cluster run . kubeconfig)\n    kubectl get pods -A -o wide\n\n%s ends it\n",
		filepath.Join(c.bin, "kubectl"), downCommand)
	return nil
}

// cluster is one that runs.
type cluster struct {
	e     *env
	place place
	bin   string // the folder of Kubernetes's programs
	begun time.Time
}

// startCluster builds what is missing and brings up the control plane and the nodes: a Kubernetes without DNS
// and without Service routing. The nodes can pull the images of the tests and of this repository.
func startCluster(ctx context.Context, e *env) (*cluster, error) {
	plugins, err := checkMachine()
	if err != nil {
		return nil, err
	}
	p, err := placeOf(e)
	if err != nil {
		return nil, err
	}
	lock, err := p.claim()
	if errors.Is(err, errRuns) {
		return nil, fmt.Errorf("a cluster runs already in %s: use it, or end it with `%s`", p, downCommand)
	}
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	want, err := programs("cluster")
	if err != nil {
		return nil, err
	}
	c := &cluster{e: e, place: p, bin: directory(e.cache)}
	if err := install(ctx, e, c.bin, want); err != nil {
		return nil, err
	}
	archives, err := images(ctx, e)
	if err != nil {
		return nil, err
	}
	c.begun = time.Now()
	if err := p.clean(); err != nil { // what a crash has left
		return nil, err
	}
	folders, err := clusterFolders()
	if err != nil {
		return nil, err
	}
	o := order{
		Place: string(p), Bin: c.bin, CNIPlugins: plugins, Folders: folders,
		CoreDNS: ownBinary(e, "coredns"), Images: archives, Nodes: nodeNames,
	}
	if err := c.supervise(ctx, o, lock); err != nil {
		return nil, errors.Join(err, p.clean())
	}
	c.tell("the API server is ready, the nodes start")
	return c, nil
}

func (c *cluster) tell(format string, args ...any) {
	fmt.Fprintf(c.e.stderr, "%5.1fs  %s\n", time.Since(c.begun).Seconds(), fmt.Sprintf(format, args...))
}

// supervise starts the supervisor and waits until it says that it is ready. What it is about to make is
// written down first.
func (c *cluster) supervise(ctx context.Context, o order, lock *os.File) error {
	s := state{Nodes: o.Nodes}
	for _, f := range o.Folders {
		s.Cgroups = append(s.Cgroups, f.Path)
	}
	if err := c.place.writeState(s); err != nil {
		return err
	}
	for _, f := range o.Folders {
		if err := makeCgroup(hierarchy{options: f.Options}, f.Path); err != nil {
			return err
		}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.place.log("supervisor"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command("/proc/self/exe", superviseVerb, string(text))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock, readyEnd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Setsid: true}
	err = cmd.Start()
	readyEnd.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // so that it is no zombie while we live
	s.Pid = cmd.Process.Pid
	s.Started, _ = processStart(s.Pid)
	if err := c.place.writeState(s); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	answer, err := io.ReadAll(bufio.NewReader(ready))
	switch word := strings.TrimSpace(string(answer)); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("wait for the supervisor: %w", err)
	case word == "":
		return fmt.Errorf("the supervisor ended, the end of its log:\n%s", tailOf(c.place.log("supervisor")))
	case word != "ready":
		return errors.New(word)
	}
	return nil
}

// kubectl runs the real one as admin and returns what it printed; its error holds all that it said.
func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), args...)
	// It keeps a cache and looks for preferences below HOME: keep it out of the user's.
	cmd.Env = append(os.Environ(), "HOME="+c.place.file("home"), "KUBECONFIG="+c.place.file("kubeconfig"))
	var complaints bytes.Buffer // and warnings, of which nobody wants to read in a value
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, out, complaints.Bytes())
	}
	return string(out), nil
}
