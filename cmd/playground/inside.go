//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A playground is what is there once everything runs.
type playground struct {
	cluster *cluster
	client  *runningPod
	dns     *runningPod
	agents  []*forwarder
	scratch string
	env     environment
	screen  *screen
}

// runInside is the part in the sandbox: build the network, start everything, walk.
//
//	inside MODULE-ROOT SCRATCH COREDNS FORWARDER -- [COMMAND…]
func runInside(ctx context.Context, args []string, env environment) int {
	if !netlab.Inside() || len(args) < 5 || args[4] != "--" {
		fmt.Fprintln(env.stderr, "playground: the command inside is not for people: start the playground without it")
		return exitUsage
	}
	root, scratch, binaries, command := args[0], args[1], programs{args[2], args[3]}, args[5:]
	lab, err := netlab.Build(netlab.Config{Nodes: 2})
	if err == nil {
		defer lab.Close()
		p := &playground{scratch: scratch, env: env, screen: newScreen(env, len(command) > 0)}
		var code int
		if code, err = p.run(ctx, lab, root, binaries, command); err == nil {
			return code
		}
	}
	fmt.Fprintln(env.stderr, "playground:", err)
	return exitFailed
}

func (p *playground) run(ctx context.Context, lab *netlab.Lab, root string, binaries programs, command []string) (int, error) {
	if err := p.start(ctx, lab, root, binaries); err != nil {
		return 0, err
	}
	if len(command) > 0 {
		return p.inClient(command)
	}
	code := p.walk(ctx)
	if !isTerminal(p.env.stdin) || !isTerminal(p.env.stdout) {
		return code, nil
	}
	_, err := p.shell()
	return code, err
}

// walk takes all steps and returns the exit code. Without coredns or a forwarder there is nothing to go on with.
func (p *playground) walk(ctx context.Context) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := func(name string, process *netlab.Process) {
		select {
		case <-process.Done():
			cancel(fmt.Errorf("%s has ended: %w", name, process.Wait()))
		case <-ctx.Done():
		}
	}
	go watch("coredns", p.dns.process)
	for _, f := range p.agents {
		go watch("the forwarder of "+f.node.Name, f.process)
	}
	for _, s := range walk(p.cluster) {
		p.screen.result(s.take(ctx, p.cluster, p.ask))
		if ctx.Err() != nil {
			break
		}
	}
	code := p.screen.verdict()
	if code != 0 {
		p.screen.said("coredns", &p.dns.output)
		for _, f := range p.agents {
			p.screen.said("the forwarder of "+f.node.Name, &f.output)
		}
	}
	return code
}

// start brings up the cluster: forwarders, DNS, the examples, the client.
func (p *playground) start(ctx context.Context, lab *netlab.Lab, root string, binaries programs) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	if err := p.installApplets(program); err != nil {
		return err
	}
	folder, err := newFolder(p.scratch)
	if err != nil {
		return err
	}
	p.cluster = newCluster(lab, folder, program)
	dns, err := p.cluster.addDNS()
	if err != nil {
		return err
	}
	all, err := readExamples(filepath.Join(root, "manifests", "examples"))
	if err != nil {
		return err
	}
	if err := p.cluster.applySystem(ctx, root); err != nil {
		return err
	}
	if p.agents, err = startForwarders(ctx, lab, binaries.forwarder, folder.dir); err != nil {
		return err
	}
	if err := p.cluster.apply(ctx, all); err != nil {
		return err
	}
	if p.client, err = p.cluster.addPod(clientPod(lab.Node(2).Name)); err != nil {
		return err
	}
	p.client.setReady()
	if err := dns.startDNS(binaries.coredns, p.scratch, folder.dir); err != nil {
		return err
	}
	if err := dns.awaitDNS(ctx); err != nil {
		return err
	}
	p.tell(lab, dns)
	p.dns = dns
	if err := p.cluster.publish(); err != nil {
		return err
	}
	return p.cluster.awaitVIP(ctx, dns, p.client)
}

// tell shows what there is now.
func (p *playground) tell(lab *netlab.Lab, dns *runningPod) {
	c := p.cluster
	for _, n := range lab.Nodes {
		p.screen.fact(n.Name, "%s, pods in %s; a forwarder of its own routes Services", n.IPv4, n.PodCIDR4)
	}
	p.screen.fact("outside", "%s, a machine that does not belong to the cluster", lab.Outside.IPv4)
	p.screen.fact("coredns", "%s, the cluster's DNS: a pod on %s", dns.host.IPv4, dns.node.Name)
	p.screen.fact("client", "%s, a pod on %s, from which all is asked; its resolv.conf names the Service kube-dns", p.client.host.IPv4, p.client.node.Name)
	for _, w := range c.workloads {
		var pods []string
		for _, pod := range c.podsOwnedBy(w) {
			pods = append(pods, fmt.Sprintf("%s on %s", pod.host.IPv4, pod.node.Name))
		}
		p.screen.fact(w.meta.Name, "a %s of %d pods: %s", w.kind, len(pods), strings.Join(pods, ", "))
	}
	for _, s := range c.services {
		if s.Spec.ClusterIP == corev1.ClusterIPNone {
			p.screen.fact(s.Name, "a headless Service: a name for pods, without an address of its own")
		} else {
			p.screen.fact(s.Name, "a Service: a name and an address that stay while pods come and go: %s", strings.Join(s.Spec.ClusterIPs, ", "))
		}
	}
	p.screen.line("")
}

// clientPod is a pod in which nothing runs until somebody starts it there.
func clientPod(node string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "client", Namespace: metav1.NamespaceDefault},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "shell"}}},
	}
}

// ask runs lookup or fetch somewhere and reads what it found.
func (p *playground) ask(ctx context.Context, from place, command []string) (outcome, error) {
	args := append([]string{command[0], "-json"}, command[1:]...)
	cmd := exec.CommandContext(ctx, p.cluster.program, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	host, err := from(p)
	if err != nil {
		return outcome{}, err
	}
	if err := host.Run(cmd); err != nil {
		if ctx.Err() != nil {
			return outcome{}, context.Cause(ctx)
		}
		return outcome{}, fmt.Errorf("%s: %w", strings.TrimSpace(errs.String()), err)
	}
	var o outcome
	if err := json.Unmarshal([]byte(out.String()), &o); err != nil {
		return outcome{}, fmt.Errorf("read the output of %s: %w", command[0], err)
	}
	return o, nil
}
