package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// shop is a folder with one Service, web, whose backends are given.
func shop(t *testing.T, dir string, backends ...string) {
	t.Helper()
	var endpoints []string
	for _, b := range backends {
		endpoints = append(endpoints, fmt.Sprintf("{addresses: [%s]}", b))
	}
	text := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.20, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [%s]
`, strings.Join(endpoints, ", "))
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// process is a forwarder that runs in a host.
type process struct {
	*netlab.Process
	t    *testing.T
	host *netlab.Host

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(text)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start runs a forwarder in a host; unprivileged: it has no rights over the network there.
func start(t *testing.T, h *netlab.Host, unprivileged bool, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	if unprivileged {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	}
	return startCommand(t, h, cmd)
}

// startCommand is start for a command that becomes this program.
func startCommand(t *testing.T, h *netlab.Host, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Env = append(os.Environ(), beForwarder+"=1")
	p := &process{t: t, host: h}
	var err error
	cmd.Stdout, cmd.Stderr = p, p
	if p.Process, err = h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("forwarder of %s:\n%s", h.Name, p.logged())
		}
	})
	return p
}

// get asks for one of the forwarder's pages, from its host.
func (p *process) get(url string) (int, string) { return p.host.Get(context.Background(), url) }

// until waits until f says yes, and fails with what it said last if the process ends or
// it takes too long.
func (p *process) until(what string, f func() (ok bool, last string)) {
	p.t.Helper()
	p.within(time.Minute, what, f)
}

// within is until with a limit of its own.
func (p *process) within(limit time.Duration, what string, f func() (ok bool, last string)) {
	p.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		ok, last := f()
		if ok {
			return
		}
		select {
		case <-p.Done():
			p.t.Fatalf("%s: the forwarder ended; last:\n%s", what, last)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not so after %v; last:\n%s", what, limit, last)
		}
	}
}

// routes waits until the rules in the kernel lead web to exactly these backends.
func (p *process) routes(backends ...string) {
	p.t.Helper()
	p.until(fmt.Sprint("web leads to ", backends), func() (bool, string) {
		rules := nft(p.t, p.host, "", "list", "ruleset")
		for _, pod := range []string{"10.244.1.2", "10.244.1.3", "10.244.1.4"} {
			if strings.Contains(rules, ": "+pod+" . 8080") != slices.Contains(backends, pod) {
				return false, rules
			}
		}
		return true, rules
	})
}

// ends waits for the end and returns the code.
func (p *process) ends() int {
	p.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		p.t.Fatal("the forwarder does not end")
	}
	if code, ok := p.Wait().(*exec.ExitError); ok {
		return code.ExitCode()
	}
	return 0
}

func TestLife(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	dir := t.TempDir()
	shop(t, dir, "10.244.1.2", "10.244.1.3")
	args := []string{"--manifests=" + dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--logging-format=json"}
	p := start(t, n.Host, false, args...)
	p.routes("10.244.1.2", "10.244.1.3")
	for url, want := range map[string]string{
		"http://127.0.0.1:10256/healthz":     `"healthy":true`,
		"http://127.0.0.1:10256/livez":       `"healthy":true`,
		"http://127.0.0.1:10249/healthz":     "ok",
		"http://127.0.0.1:10249/proxyMode":   "nftables",
		"http://127.0.0.1:10249/debug/table": "10.96.0.20 tcp 80 ClusterIP shop/web:http",
		"http://127.0.0.1:10249/configz":     `"clusterCIDR":"10.244.0.0/16"`,
		"http://127.0.0.1:10249/metrics":     `signpost_frontends{kind="ClusterIP"} 1`,
		"http://127.0.0.1:10249/statusz":     "Paths: /configz /debug/table /flagz /healthz /metrics /proxyMode",
		"http://127.0.0.1:10249/flagz":       "\ncluster-cidr: 10.244.0.0/16\n",
	} {
		if code, body := p.get(url); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", url, code, body, want)
		}
	}
	shop(t, dir, "10.244.1.2", "10.244.1.4")
	p.routes("10.244.1.2", "10.244.1.4")
	p.metricsAreDocumented()

	second := start(t, n.Host, false, args...)
	if code := second.ends(); code != 1 || !strings.Contains(second.logged(), "another forwarder runs") {
		t.Errorf("the second forwarder ended with %d:\n%s", code, second.logged())
	}
	p.Signal(unix.SIGTERM)
	if code := p.ends(); code != 0 || !strings.Contains(p.logged(), `"msg":"forwarder stopped; the rules stay"`) {
		t.Errorf("ended with %d:\n%s", code, p.logged())
	}
	p.routes0("10.244.1.2", "10.244.1.4")

	shop(t, dir, "10.244.1.3")
	next := start(t, n.Host, false, args...)
	next.routes("10.244.1.3")
	next.Kill()
	p.routes0("10.244.1.3")
}

// routes0 is routes for a process that has ended: the rules are there at once.
func (p *process) routes0(backends ...string) {
	p.t.Helper()
	rules := nft(p.t, p.host, "", "list", "ruleset")
	for _, b := range backends {
		if !strings.Contains(rules, ": "+b+" . 8080") {
			p.t.Errorf("the rules do not lead to %s any more:\n%s", b, rules)
		}
	}
}

// Cleanup leaves nothing of ours and all of others, and not while a forwarder runs.
func TestCleanup(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	nft(t, n.Host, "", "add", "table", "ip", "theirs")
	theirs := nft(t, n.Host, "", "list", "ruleset")
	dir := t.TempDir()
	shop(t, dir, "10.244.1.2")
	p := start(t, n.Host, false, "--manifests="+dir, "--conntrack-max-per-core=0")
	p.routes("10.244.1.2")
	early := start(t, n.Host, false, "--cleanup")
	if code := early.ends(); code != 1 || !strings.Contains(early.logged(), "stop it first") {
		t.Errorf("beside a running forwarder: %d\n%s", code, early.logged())
	}
	p.routes0("10.244.1.2")
	p.Kill()
	for range 2 { // the second time there is nothing
		after := start(t, n.Host, false, "--cleanup")
		if code := after.ends(); code != 0 {
			t.Errorf("ended with %d:\n%s", code, after.logged())
		}
		if got := nft(t, n.Host, "", "list", "ruleset"); got != theirs {
			t.Errorf("left:\n%s\nwant\n%s", got, theirs)
		}
	}
}

// Without the capability the error names it, once for each mode, and blames neither the kernel nor the mode.
func TestWithoutTheRight(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	for mode, errors := range map[string]int{"nftables": 1, "iptables": 1, "auto": 2} {
		if _, err := exec.LookPath("iptables-nft-restore"); err != nil && mode != "nftables" {
			if os.Getenv("CI") == "true" {
				t.Error(err)
			}
			t.Logf("mode %s is not tried: %v: install iptables", mode, err)
			continue
		}
		p := start(t, n.Host, true, "--manifests="+t.TempDir(), "--proxy-mode="+mode)
		code, log := p.ends(), p.logged()
		if code != 1 || strings.Count(log, "expected the capability NET_ADMIN") != errors || strings.Count(log, "mode ") != errors ||
			strings.Contains(log, "not supported") || strings.Contains(log, "may work") {
			t.Errorf("mode %s ended with %d:\n%s", mode, code, log)
		}
	}
}

// Without the module the error says so once, and no library logs in another form.
func TestWithoutIPVS(t *testing.T) {
	if _, err := netlink.GenlFamilyGet("IPVS"); err == nil {
		t.Skip("this kernel has IPVS")
	}
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	p := start(t, n.Host, false, "--manifests="+t.TempDir(), "--proxy-mode=ipvs", "--logging-format=json")
	if code := p.ends(); code != 1 || !strings.HasPrefix(p.logged(), "forwarder: mode ipvs: not supported by this kernel: it has no module ip_vs") {
		t.Errorf("ended with %d:\n%s", code, p.logged())
	}
}

func TestInitOnly(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	p := start(t, n.Host, false, "--init-only", "--conntrack-max-per-core=0", "--conntrack-udp-timeout=77s")
	if code := p.ends(); code != 0 {
		t.Errorf("ended with %d:\n%s", code, p.logged())
	}
	var got []byte
	if err := n.Do(func() (err error) {
		got, err = os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")
		return err
	}); err != nil || strings.TrimSpace(string(got)) != "77" {
		t.Errorf("the timeout is %s, %v", got, err)
	}
	if rules := nft(t, n.Host, "", "list", "ruleset"); rules != "" {
		t.Errorf("there are rules:\n%s", rules)
	}
}

// Every node has a forwarder of its own, and its name.
func TestTwoNodes(t *testing.T) {
	lab := netlab.New(t, netlab.Config{Nodes: 2})
	dir := t.TempDir()
	shop(t, dir, "10.244.1.2")
	var all []*process
	for _, n := range lab.Nodes {
		all = append(all, start(t, n.Host, false, "--manifests="+dir, "--conntrack-max-per-core=0"))
	}
	for _, p := range all {
		p.routes("10.244.1.2")
		if !strings.Contains(p.logged(), "node="+p.host.Name) {
			t.Errorf("the node is not called %s:\n%s", p.host.Name, p.logged())
		}
	}
}
