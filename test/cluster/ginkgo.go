package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// selection says which of upstream's specs run: expressions on their names, and Ginkgo's label language.
type selection struct{ focus, skip, labels string }

// conformance23 are the specs by which a cluster is certified, those of them that are about Services and DNS.
var conformance23 = selection{
	focus:  `\[sig-network\] (Services|DNS).*\[Conformance\]`,
	labels: "Conformance && !Serial && !Disruptive",
}

// allOfNetwork is what can be asked of any cluster's names and VIPs. Left out are specs that need a cloud, the
// internet or SCTP in the kernel (all of them labelled as a Feature), that break nodes, that take very long,
// and those of objects that neither DNS nor VIPs have to do with.
var allOfNetwork = selection{
	focus:  `\[sig-network\]`,
	skip:   `Netpol|Ingress`,
	labels: "!Serial && !Disruptive && !Slow && !Flaky && Feature: isSubsetOf IPv6DualStack",
}

// arguments are those of ginkgo. Every spec spends most of its time waiting for pods, hence more processes than
// cores.
func (s selection) arguments(programs, kubeconfig, dir string, processes int) []string {
	if processes == 0 {
		processes = 2*runtime.NumCPU() + 2
	}
	args := []string{
		filepath.Join(programs, "ginkgo"), fmt.Sprint("--procs=", processes), "--no-color", "-v", "--timeout=2h",
		"--focus=" + s.focus, "--label-filter=" + s.labels, "--output-dir=" + dir, "--json-report=" + reportFile,
	}
	if s.skip != "" {
		args = append(args, "--skip="+s.skip)
	}
	return append(args, filepath.Join(programs, "e2e.test"), "--",
		"--provider=skeleton", fmt.Sprint("--num-nodes=", len(nodeNames)), "--kubeconfig="+kubeconfig, "--disable-log-dump=true", "--delete-namespace-on-failure=true")
}

const reportFile = "report.json"

// runSpecs lets upstream judge the cluster as it is, from a machine outside of it. Everything that the specs
// print is in the file log of dir, and Ginkgo's own report beside it.
func (c *cluster) runSpecs(ctx context.Context, s selection, name, dir string, processes int) (outcomes, error) {
	if err := os.RemoveAll(dir); err != nil {
		return outcomes{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return outcomes{}, fmt.Errorf("make the folder of the specs' output: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return outcomes{}, err
	}
	defer log.Close()
	_, state, err := theCluster(c.e, nil, 0)
	if err != nil {
		return outcomes{}, err
	}
	args := s.arguments(c.bin, c.place.file("pki", "admin.kubeconfig"), dir, processes)
	cmd, err := c.place.inside(ctx, state, outsideName, args...)
	if err != nil {
		return outcomes{}, err
	}
	own(cmd)
	cmd.Dir = dir
	show := newCounter(c.e.stderr, fmt.Sprintf("%-23s", name), "specs", readSpec)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, show), log
	err = cmd.Run()
	show.finish(err == nil)
	// It fails if a spec does: then the report says which.
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return outcomes{}, fmt.Errorf("run the specs: %w", ctx.Err())
	}
	if err != nil && !errors.As(err, &exit) {
		return outcomes{}, fmt.Errorf("run the specs: %w", err)
	}
	all, readErr := readReport(filepath.Join(dir, reportFile))
	if readErr != nil {
		return outcomes{}, fmt.Errorf("ginkgo ended without a report (%w): %w\n%s", err, readErr, tailOf(filepath.Join(dir, "log")))
	}
	return all, nil
}

// readSpec finds the two lines with which Ginkgo reports a spec that has run: a bullet, and its name.
func readSpec(line string) (counts bool, show string) {
	if strings.HasPrefix(line, "[sig-") {
		return false, line
	}
	return strings.HasPrefix(line, "•"), ""
}
