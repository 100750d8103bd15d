package hostile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// patience is how long anything may take before a test gives up.
const patience = 70 * time.Second

var buildOnce = map[string]func() (string, error){
	"forwarder": sync.OnceValues(func() (string, error) { return build("forwarder") }),
	"coredns":   sync.OnceValues(func() (string, error) { return build("coredns") }),
}

// built is the folder of the programs that were compiled. TestMain makes and removes it.
var built string

func build(name string) (string, error) {
	binary := filepath.Join(built, name)
	_, err := goTool("build", "-o", binary, "./cmd/"+name)
	return binary, err
}

// program is a program of ours, compiled.
func program(t *testing.T, name string) string {
	t.Helper()
	if *programs != "" {
		return filepath.Join(*programs, name)
	}
	binary, err := buildOnce[name]()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// A rig is a node with a client and three pods, each of which answers with its name, and a forwarder that follows an API.
type rig struct {
	*testing.T
	town
	api    *api.Server
	lab    *netlab.Lab
	node   *netlab.Node
	client *netlab.Host
	hosts  []*netlab.Host
	cable  *netlab.Relay // to the API, which is in another network
	config string        // file of the forwarder
	mode   string
	run    *forwarder
}

// newRig makes a node in front of an API. Nothing routes yet.
func newRig(t *testing.T, server *api.Server) *rig {
	t.Helper()
	r := &rig{T: t, api: server, lab: netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}), config: filepath.Join(t.TempDir(), "config.conf")}
	r.node = r.lab.Node(1)
	add := func(name string) *netlab.Host {
		h, err := r.node.AddPod(name)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	r.client = add("client")
	r.town.node = r.node.IPv4
	for i := range 3 {
		h := add(fmt.Sprintf("pod-%d", i))
		if _, err := h.Echo(podPort); err != nil {
			t.Fatal(err)
		}
		r.hosts, r.pods = append(r.hosts, h), append(r.pods, h.IPv4)
	}
	cable, err := r.node.Relay("127.0.0.1:0", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cable.Close)
	r.cable = cable
	r.configure("nftables")
	return r
}

// configure writes the forwarder's configuration, as an operator edits it.
func (r *rig) configure(mode string) {
	r.Helper()
	r.mode = mode
	text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: " + podCIDR +
		"\nconntrack: {maxPerCore: 0}\nhostnameOverride: " + nodeName + "\nmode: " + mode + "\n"
	if err := errors.Join(os.WriteFile(r.config+".next", []byte(text), 0o644), os.Rename(r.config+".next", r.config)); err != nil {
		r.Fatal(err)
	}
}

// A forwarder is a process in a node.
type forwarder struct {
	*netlab.Process
	mu   sync.Mutex
	said int             // bytes
	log  strings.Builder // the end of them
}

// Write implements io.Writer for what the process says.
func (f *forwarder) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said += len(text)
	if f.log.Len() > 64<<10 {
		f.log.Reset()
	}
	return f.log.Write(text)
}

// logged is how much it said, and the end of that.
func (f *forwarder) logged() (bytes int, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said, f.log.String()
}

// start starts a forwarder that must end with the test.
func (r *rig) start(env ...string) {
	r.Helper()
	f := &forwarder{}
	cmd := limited(r, program(r.T, "forwarder"), "--config="+r.config, "--master=http://"+r.cable.Addr)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = f, f
	var err error
	if f.Process, err = r.node.Start(cmd); err != nil {
		r.Fatal(err)
	}
	r.run = f
	r.Cleanup(func() {
		f.Kill()
		if _, text := f.logged(); r.Failed() {
			r.Logf("the forwarder %d said last:\n%.6000s", f.Pid(), text)
		}
	})
}

// ends waits until the forwarder has ended. One that does not says where it hangs.
func (r *rig) ends() {
	r.Helper()
	select {
	case <-r.run.Done():
		return
	case <-time.After(patience):
	}
	_, text := r.run.logged()
	r.run.Signal(unix.SIGQUIT)
	<-r.run.Done()
	_, stacks := r.run.logged()
	r.Fatalf("the forwarder has not ended after %v:\n%s\n%s", patience, text, stacks)
}

// eventually polls until f has no error, and fails with the last one when it takes too long.
func (r *rig) eventually(what string, f func() error) {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s: not so after %v: %v", what, patience, err)
		}
		if r.run != nil {
			select {
			case <-r.run.Done():
				_, text := r.run.logged()
				r.Fatalf("%s: the forwarder has ended:\n%.4000s", what, text)
			default:
			}
		}
	}
}

// ask asks once over TCP and returns who answers.
func (r *rig) ask(from *netlab.Host, to string, port uint16) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	reply, err := from.Ask(ctx, "tcp", netip.AddrPortFrom(netip.MustParseAddr(to), port))
	return reply.Server, err
}

// leads waits until a Service leads to exactly these pods.
func (r *rig) leads(to string, port uint16, ready ...int) {
	r.Helper()
	r.eventually(fmt.Sprintf("%s leads to %v", to, ready), func() error {
		seen := map[string]bool{}
		for range 20 {
			who, err := r.ask(r.client, to, port)
			if err != nil {
				return err
			}
			seen[who] = true
		}
		for _, i := range ready {
			if !seen[fmt.Sprintf("pod-%d", i)] {
				return fmt.Errorf("%v answer", seen)
			}
		}
		if len(seen) != len(ready) {
			return fmt.Errorf("%v answer", seen)
		}
		return nil
	})
}

// A watch asks the Services of others all the time.
type watch struct {
	rig     *rig
	asked   atomic.Int64
	excused atomic.Bool // rules may be missing
	stop    func()
}

// destinations are what others' clients dial.
var destinations = []netip.AddrPort{
	netip.MustParseAddrPort(webVIP + ":80"), netip.MustParseAddrPort(balancedVIP + ":80"), netip.MustParseAddrPort(stickyVIP + ":80"),
	netip.MustParseAddrPort(youngVIP + ":80"), netip.MustParseAddrPort(dnsVIP + ":53"), netip.MustParseAddrPort(balancerIP + ":80"),
}

// keepAsking begins a watch. Each question must be answered by a pod of the Service, at the first attempt.
func (r *rig) keepAsking() *watch {
	w := &watch{rig: r}
	ctx, cancel := context.WithCancel(r.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			w.ask(ctx, destinations[n%len(destinations)])
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); wait.Wait() })
	r.Cleanup(w.stop)
	return w
}

func (w *watch) ask(ctx context.Context, to netip.AddrPort) {
	excused := w.excused.Load()
	limit, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	begin := time.Now()
	reply, err := w.rig.client.Ask(limit, "tcp", to)
	if ctx.Err() != nil || excused || w.excused.Load() {
		return
	}
	if err != nil || reply.Server != "pod-0" && reply.Server != "pod-1" {
		w.rig.Errorf("%v, asked at %s: %q answers, %v", to, begin.Format("05.000"), reply.Server, err)
	}
	w.asked.Add(1)
}

// without is where a tool is missing: the test is skipped.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			netlab.Skip(t, err.Error())
		}
	}
}

// tool runs a program in the node and returns what it prints.
func (r *rig) tool(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := r.node.Run(cmd); err != nil {
		return out.String(), fmt.Errorf("%s %q: %w: %s", name, args, err, errs.String())
	}
	return out.String(), nil
}
