package hostile

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// container is one of the manifests': what a kubelet gives its process, as far as it concerns memory.
func container(t *testing.T, file, name string) (limit int64, env []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "manifests", file))
	if err != nil {
		t.Fatal(err)
	}
	var workload appsv1.Deployment // of a DaemonSet it has all that matters here
	if err := yaml.Unmarshal(text, &workload); err != nil {
		t.Fatal(err)
	}
	for _, c := range workload.Spec.Template.Spec.Containers {
		if c.Name != name {
			continue
		}
		limit = c.Resources.Limits.Memory().Value()
		for _, v := range c.Env {
			if v.Name == "GOMEMLIMIT" && v.ValueFrom != nil && v.ValueFrom.ResourceFieldRef != nil {
				env = append(env, fmt.Sprintf("%s=%d", v.Name, limit))
			} else if v.Name == "GOMEMLIMIT" {
				env = append(env, v.Name+"="+v.Value)
			}
		}
	}
	if limit == 0 {
		t.Fatalf("container %s in %s: no limit of memory", name, file)
	}
	return limit, env
}

// peak is the most memory that a process had.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("process %d: no VmHWM", pid)
	return 0
}

// TestTenantMemory lets a tenant fill its namespace with as much text and as many endpoints as an API server takes. The most
// memory that both programs have stays below the limits of the manifests.
func TestTenantMemory(t *testing.T) {
	netlab.Need(t)
	server := api.New(t)
	r := newRig(t, server)
	server.Put(r.infrastructure()...)
	server.Put(r.victims(0, 1)...)
	n := newTenant(newDice(*seedFlag), r.town, sizes{services: 800, ports: 20, endpoints: 1000, slices: 5, text: 800 * 250_000}, server)
	for _, f := range faults {
		n.fault(f)
	}
	for _, c := range []struct {
		name, file, container string
		start                 func(env []string) (pid int, ready func() error)
	}{
		{"forwarder", "forwarder/daemonset.yaml", "forwarder", func(env []string) (int, func() error) {
			r.start(env...)
			return r.run.Pid(), func() error { _, err := r.ask(r.client, youngVIP, 80); return err }
		}},
		{"coredns", "coredns/deployment.yaml", "coredns", func(env []string) (int, func() error) {
			return startCoreDNS(t, server.URL, env)
		}},
	} {
		limit, env := container(t, c.file, c.container)
		pid, ready := c.start(env)
		r.eventually(c.name+" serves", ready)
		rounds := 3
		if testing.Short() {
			rounds = 1
		}
		for range rounds { // the tenant's objects change while it serves
			n.fault(faults[3])
			server.Put(r.young(n.IntN(2)))
			time.Sleep(time.Second)
			r.eventually(c.name+" serves", ready)
		}
		if env == nil {
			t.Errorf("%s: the manifest sets no GOMEMLIMIT", c.name)
		}
		most := peak(t, pid)
		t.Logf("%s: at most %d MiB of %d MiB, %q", c.name, most>>20, limit>>20, env)
		if most > limit {
			t.Errorf("%s: at most %d MiB, the limit is %d MiB; to repeat it: go test ./test/hostile -run '^%s$' -hostile.seed %d", c.name, most>>20, limit>>20, t.Name(), *seedFlag)
		}
	}
}

// startCoreDNS starts a server for the zone cluster.local until the test ends.
func startCoreDNS(t *testing.T, url string, env []string) (pid int, ready func() error) {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.LocalAddr().String())
	l.Close()
	file := filepath.Join(t.TempDir(), "Corefile")
	text := fmt.Sprintf(".:%d {\n bind 127.0.0.1\n errors\n signpost cluster.local in-addr.arpa ip6.arpa {\n endpoint %s\n }\n}\n", at.Port(), url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, "coredns"), "-conf", file)
	cmd.Env = append(os.Environ(), env...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("coredns said:\n%.4000s", out.String())
		}
	})
	return cmd.Process.Pid, func() error {
		m := new(dns.Msg).SetQuestion("young.bank.svc.cluster.local.", dns.TypeA)
		reply, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, at.String())
		if err == nil && len(reply.Answer) != 1 {
			err = fmt.Errorf("%d records", len(reply.Answer))
		}
		return err
	}
}
