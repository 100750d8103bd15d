package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// kubeconfig prints the path of a file with which kubectl reaches the cluster from this machine.
func kubeconfig(_ context.Context, e *env, args []string) error {
	p, _, err := theCluster(e, args, 0)
	if err == nil {
		fmt.Fprintln(e.stdout, p.file("kubeconfig"))
	}
	return err
}

// theCluster returns the cluster that runs, for a verb of n arguments.
func theCluster(e *env, args []string, n int) (place, state, error) {
	if len(args) != n {
		return "", state{}, errUsage
	}
	p, err := placeOf(e)
	if err != nil {
		return "", state{}, err
	}
	s, err := p.running()
	return p, s, err
}

// status prints what the cluster runs.
func status(_ context.Context, e *env, args []string) error {
	p, _, err := theCluster(e, args, 0)
	if err != nil {
		return err
	}
	all, err := p.reports()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tSINCE\tLOG")
	for _, r := range all {
		if r.Since.IsZero() {
			continue // a network
		}
		word := "runs"
		if !r.Running {
			word = "ended"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, word, time.Since(r.Since).Round(time.Second), p.log(r.Name))
	}
	return w.Flush()
}

// stop kills a node or a service of the control plane, as a power cut would.
func stop(_ context.Context, e *env, args []string) error {
	p, _, err := theCluster(e, args, 1)
	if err != nil {
		return err
	}
	_, err = p.ask(http.MethodPost, "/stop", url.Values{"name": args})
	return err
}

// start starts it again.
func start(_ context.Context, e *env, args []string) error {
	p, _, err := theCluster(e, args, 1)
	if err != nil {
		return err
	}
	_, err = p.ask(http.MethodPost, "/start", url.Values{"name": args})
	return err
}

// loadImage gives an archive of images to the cluster: nodes that have an image of the name already get the
// new one at once, the others when a pod wants it.
func loadImage(ctx context.Context, e *env, args []string) error {
	p, s, err := theCluster(e, args, 1)
	if err != nil {
		return err
	}
	names, err := p.load(ctx, s, args[0])
	if err == nil {
		fmt.Fprintln(e.stdout, strings.Join(names, "\n"))
	}
	return err
}

func (p place) load(ctx context.Context, s state, archive string) ([]string, error) {
	// A copy: the registry reads it as long as the cluster runs.
	if err := os.MkdirAll(p.file("loaded"), 0o755); err != nil {
		return nil, err
	}
	copied := p.file("loaded", fmt.Sprintf("%d.tar", time.Now().UnixNano()))
	if err := copyFile(copied, archive); err != nil {
		return nil, fmt.Errorf("take in the image archive: %w", err)
	}
	answer, err := p.ask(http.MethodPost, "/load", url.Values{"archive": {copied}})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes() {
		cmd, err := p.inside(ctx, s, n.name, "ctr", "--namespace=k8s.io", "images", "import", copied)
		if err != nil {
			return nil, err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("load %s into node %s: %w\n%s", archive, n.name, err, out)
		}
	}
	var names []string
	return names, json.Unmarshal(answer, &names)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// execute replaces this process by a command in a member of the cluster.
func execute(ctx context.Context, e *env, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	p, s, err := theCluster(e, nil, 0)
	if err != nil {
		return err
	}
	if args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	cmd, err := p.inside(ctx, s, args[0], args[1:]...)
	if err != nil {
		return err
	}
	return syscall.Exec(cmd.Path, cmd.Args, os.Environ())
}

// inside returns a command that runs in a member's namespaces: of a node all, of others the network. It goes
// by the supervisor's, in which the numbers of processes are the ones that it reports.
func (p place) inside(ctx context.Context, s state, name string, args ...string) (*exec.Cmd, error) {
	all, err := p.reports()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.Name != name || r.Network == "" {
			continue
		}
		nsenter := []string{"--target", fmt.Sprint(s.Pid), "--mount", "--pid", "nsenter"}
		if _, isNode := nodeNamed(name); isNode {
			if !r.Running {
				return nil, fmt.Errorf("node %s does not run: start it with `go -C test/cluster run . start %s`", name, name)
			}
			nsenter = append(nsenter, "--target", fmt.Sprint(r.Pid), "--mount", "--net", "--pid", "--uts", "--cgroup", "--")
		} else {
			nsenter = append(nsenter, "--net="+r.Network, "--")
		}
		return exec.CommandContext(ctx, "nsenter", append(nsenter, args...)...), nil
	}
	names := append([]string{outsideName, controlName}, nodeNames...)
	return nil, fmt.Errorf("no member %q: expected one of %s", name, strings.Join(names, ", "))
}

// reports asks the supervisor what runs.
func (p place) reports() ([]report, error) {
	answer, err := p.ask(http.MethodGet, "/reports", nil)
	if err != nil {
		return nil, err
	}
	var all []report
	return all, json.Unmarshal(answer, &all)
}

// ask sends a request to the supervisor.
func (p place) ask(method, path string, query url.Values) ([]byte, error) {
	socket := p.file("control.sock")
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	q, err := http.NewRequest(method, (&url.URL{Scheme: "http", Host: "supervisor", Path: path, RawQuery: query.Encode()}).String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster's supervisor: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the cluster's supervisor: %s", strings.TrimSpace(string(body)))
	}
	return body, err
}

// kubectlVerb replaces this process by the cluster's kubectl.
func kubectlVerb(_ context.Context, e *env, args []string) error {
	p, _, err := theCluster(e, nil, 0)
	if err != nil {
		return err
	}
	path := filepath.Join(directory(e.cache), "kubectl")
	return syscall.Exec(path, append([]string{"kubectl"}, args...), append(os.Environ(), "KUBECONFIG="+p.file("kubeconfig")))
}
