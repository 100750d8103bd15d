package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// command runs a program in a host and returns what it prints.
func command(t *testing.T, h *netlab.Host, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Run(cmd); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out.String())
	}
	return out.String()
}

// virtualServers are the virtual servers of a host, as commands.
func virtualServers(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return command(t, h, "ipvsadm", "-S", "-n")
}

// drained finds the backends that get nothing new.
var drained = regexp.MustCompile(`(?m)^-a .* -w 0\n`)

// virtualLink is the interface of the VIPs with its number, which is another once it was made anew.
func (f *farm) virtualLink() string {
	return command(f.t, f.node.Host, "ip", "-o", "addr", "show", "dev", "kube-ipvs0")
}

// markServers gives each backend a weight that a forwarder leaves alone, and would not choose if it wrote the
// backend. It returns what there is then.
func (f *farm) markServers() string {
	f.t.Helper()
	for line := range strings.Lines(virtualServers(f.t, f.node.Host)) {
		words := strings.Fields(line)
		if words[0] == "-a" {
			words[0], words[len(words)-1] = "-e", "7"
			command(f.t, f.node.Host, "ipvsadm", words...)
		}
	}
	return virtualServers(f.t, f.node.Host) + f.virtualLink()
}

// An operator edits the mode. Nobody notices, neither new connections nor such as last, and of the mode before
// nothing stays: what IPVS leads it leads until it ends.
func TestModeSwitchUnderLoad(t *testing.T) {
	f := newFarm(t, "ipvs", 3)
	f.mode = "nftables"
	f.serve([]int{0, 1, 2})
	p := f.start()
	become := func(mode string) {
		t.Helper()
		f.mode = mode
		f.config()
		if code := p.ends(); code != 1 || !strings.Contains(p.logged(), "changed in mode: want a restart") {
			t.Errorf("at another mode the forwarder ended with %d:\n%s", code, p.logged())
		}
		p = f.start()
		if _, got := p.get("http://127.0.0.1:10249/proxyMode"); got != mode {
			t.Errorf("/proxyMode says %q, want %s", got, mode)
		}
	}
	gone := func(what string) { // looks for connections that need it are apart by twenty times what one takes
		t.Helper()
		p.within(5*time.Minute, what+" is gone", func() (bool, string) {
			all := nft(t, f.node.Host, "", "list", "tables") + virtualServers(t, f.node.Host) + command(t, f.node.Host, "ip", "-br", "link")
			return !strings.Contains(all, what), all
		})
	}
	f.load()
	become("ipvs")
	gone("table ip signpost\n")
	gone("table ip6 signpost\n")
	moved := f.dialLong("tcp") // this one IPVS leads
	flow := f.dialLong("udp")
	f.repeat("UDP flow from mode ipvs", func() error {
		time.Sleep(2 * time.Millisecond)
		return f.say(flow, "udp", "hello\n")
	})
	time.Sleep(100 * time.Millisecond)
	become("nftables")
	p.until("it says that connections go on", func() (bool, string) {
		return strings.Contains(p.logged(), "connections use rules of another mode"), p.logged()
	})
	time.Sleep(2 * time.Second) // of looks
	if err := say(moved, "hello\n", 5*time.Second); err != nil {
		t.Errorf("a connection that IPVS led, in mode nftables: %v", err)
	}
	moved.Close()
	for _, what := range []string{"-A ", "kube-ipvs0", "signpost-ipvs"} {
		gone(what)
	}
	time.Sleep(100 * time.Millisecond)
	f.end()
}

// On the node explain tells what IPVS has, and whether that is as intended.
func TestExplainIPVS(t *testing.T) {
	netlab.NeedIPVS(t)
	c := newTown(t)
	c.serve("a", "b")
	n := c.lab.Node(1).Host
	p := start(t, n, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode=ipvs")
	p.until("the rules are in place", func() (bool, string) { return strings.Contains(p.logged(), "rules are in place"), p.logged() })
	a, b := c.pods["a"].IPv4.String()+":8080", c.pods["b"].IPv4.String()+":8080"
	c.answers(c.pods["client"], "tcp", "10.96.0.20:80", "a", "b")
	has := func(packet string, want ...string) {
		t.Helper()
		out := c.explained(packet)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", packet, w, out)
			}
		}
	}
	const packet = "10.244.1.9 10.96.0.20:80"
	has(packet, "kernel server -t 10.96.0.20:80 -s rr: "+a+" "+b+"\n", "kernel in kube-ipvs0 masquerade-node masquerade-outside vips\n",
		"kernel as intended\n", "flows lead to "+a+"\n", "backend "+a+" answers this node\n")
	has("203.0.113.7 "+c.lab.Node(1).IPv4.String()+":30080", "kernel as intended\n")
	has("10.244.1.9 10.96.0.99:80", "kernel in nothing\nkernel as intended\n")
	command(t, n, "ipvsadm", "-d", "-t", "10.96.0.20:80", "-r", a)
	p.Kill() // it would repair that
	has(packet, "kernel NOT AS INTENDED: server -t 10.96.0.20:80 lacks "+a)
}

// The init container has all rights, and the other one, which is root as well, the capability NET_ADMIN alone.
// Neither has the kernel's modules, nor a program modprobe: what is missing the kernel loads by that of the node.
func TestRightsIPVS(t *testing.T) {
	netlab.NeedIPVS(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := newTown(t)
	c.serve("a", "b")
	n := c.lab.Node(1).Host
	args := []string{"--manifests=" + c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode=ipvs"}
	if first := start(t, n, false, append(args, "--init-only")...); first.ends() != 0 {
		t.Fatalf("--init-only:\n%s", first.logged())
	}
	p := startCommand(t, n, exec.Command("setpriv", append([]string{"--bounding-set=-all,+net_admin", self}, args...)...))
	p.until("the rules are in place", func() (bool, string) { return strings.Contains(p.logged(), "rules are in place"), p.logged() })
	if strings.Contains(p.logged(), "level=WARN msg=\"kernel parameter not set") || strings.Contains(p.logged(), "modprobe") {
		t.Errorf("it complains:\n%s", p.logged())
	}
	c.answers(c.pods["client"], "tcp", "10.96.0.20:80", "a", "b")
}
