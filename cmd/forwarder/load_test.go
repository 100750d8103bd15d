package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A farm is a node with a Service under constant load: by new connections and long ones of
// TCP, and by UDP from new ports and from one that stays. Not one may fail.
type farm struct {
	t      *testing.T
	node   *netlab.Node
	client *netlab.Host
	pods   []*netlab.Host
	echoes []*netlab.EchoServer
	lines  []net.Listener // for long connections
	dir    string

	stop   chan struct{}
	halt   func()
	all    sync.WaitGroup
	counts map[string]*atomic.Int64
	failed chan error
}

const (
	shortPort, longPort = 80, 81
	farmVIP             = "10.96.0.20"
)

func newFarm(t *testing.T, pods int) *farm {
	f := &farm{
		t: t, node: netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1), dir: t.TempDir(),
		stop: make(chan struct{}), failed: make(chan error, 1000), counts: map[string]*atomic.Int64{},
	}
	f.halt = sync.OnceFunc(func() {
		close(f.stop)
		for _, l := range f.lines {
			l.Close()
		}
	})
	t.Cleanup(f.all.Wait) // when the clients' connections are closed
	t.Cleanup(f.halt)
	add := func(name string) *netlab.Host {
		h, err := f.node.AddPod(name)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	f.client = add("client")
	for i := range pods {
		h := add(fmt.Sprintf("p%d", i))
		e, err := h.Echo(8080)
		if err != nil {
			t.Fatal(err)
		}
		var l net.Listener
		if err := h.Do(func() (err error) {
			l, err = net.Listen("tcp", netip.AddrPortFrom(h.IPv4, 8081).String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		f.pods, f.echoes, f.lines = append(f.pods, h), append(f.echoes, e), append(f.lines, l)
		f.all.Go(func() { f.echoLines(l) })
	}
	return f
}

// echoLines answers each line on each connection until these end.
func (f *farm) echoLines(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		f.all.Go(func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		})
	}
}

// serve says which pods are ready, and which terminate and finish what they began.
func (f *farm) serve(ready []int, draining ...int) {
	f.t.Helper()
	var endpoints []string
	add := func(list []int, conditions string) {
		for _, i := range list {
			endpoints = append(endpoints, fmt.Sprintf("{addresses: [%v], nodeName: %s, conditions: {%s}}", f.pods[i].IPv4, f.node.Name, conditions))
		}
	}
	add(ready, "ready: true")
	add(draining, "ready: false, serving: true, terminating: true")
	text := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: farm, namespace: default}
spec:
  clusterIP: %s
  ports: [{name: tcp, port: %d}, {name: udp, port: %[2]d, protocol: UDP}, {name: long, port: %[3]d}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: farm-1, namespace: default, labels: {kubernetes.io/service-name: farm}}
addressType: IPv4
ports: [{name: tcp, port: 8080}, {name: udp, port: 8080, protocol: UDP}, {name: long, port: 8081}]
endpoints: [%[4]s]
`, farmVIP, shortPort, longPort, strings.Join(endpoints, ", "))
	next := filepath.Join(f.dir, ".next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(f.dir, "farm.yaml")); err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) start() *process {
	f.t.Helper()
	p := start(f.t, f.node.Host, false, "--manifests="+f.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
	p.until("the rules are in place", func() (bool, string) {
		return strings.Contains(p.logged(), "rules are in place"), p.logged()
	})
	return p
}

// left reports whether neither a rule nor a UDP flow leads to a pod any more.
func (f *farm) left(pod int) (bool, string) {
	ip := f.pods[pod].IPv4.String()
	if rules := nft(f.t, f.node.Host, "", "list", "ruleset"); strings.Contains(rules, ip+" . 80") {
		return false, rules
	}
	none, last := true, ""
	if err := f.node.Do(func() error {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		for _, flow := range flows {
			if flow.Forward.Protocol == unix.IPPROTO_UDP && flow.Reverse.SrcIP.String() == ip {
				none, last = false, flow.String()
			}
		}
		return err
	}); err != nil { // the table changed while it was read
		return false, err.Error()
	}
	return none, last
}

// load starts the clients.
func (f *farm) load() {
	for name, once := range map[string]func() error{
		"new TCP connection": func() error { return f.exchange("tcp", shortPort, "GET / HTTP/1.0\r\n\r\n") },
		"new UDP flow":       func() error { return f.exchange("udp", shortPort, "who is there?") },
	} {
		f.repeat(name, once)
	}
	for i, network := range []string{"tcp", "tcp", "tcp", "udp"} {
		port := map[string]uint16{"tcp": longPort, "udp": shortPort}[network]
		conn, err := f.client.Dial(f.t.Context(), network, netip.AddrPortFrom(netip.MustParseAddr(farmVIP), port))
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { conn.Close() })
		f.repeat(fmt.Sprintf("long %s exchange %d", network, i), func() error {
			time.Sleep(2 * time.Millisecond)
			return say(conn, "hello\n")
		})
	}
}

// repeat does something until the load ends.
func (f *farm) repeat(name string, once func() error) {
	count := &atomic.Int64{}
	f.counts[name] = count
	f.all.Go(func() {
		for {
			select {
			case <-f.stop:
				return
			default:
			}
			if err := once(); err != nil {
				select {
				case f.failed <- fmt.Errorf("%s %d at %s: %w", name, count.Load(), time.Now().Format("05.000"), err):
				default:
				}
			}
			count.Add(1)
		}
	})
}

// exchange asks once over a connection of its own.
func (f *farm) exchange(network string, port uint16, question string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := f.client.Dial(ctx, network, netip.AddrPortFrom(netip.MustParseAddr(farmVIP), port))
	if err != nil {
		return err
	}
	defer conn.Close()
	return say(conn, question)
}

// say sends once and waits for something to come back: nothing is sent again, so a
// packet that is lost fails.
func say(conn net.Conn, question string) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, question); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 512))
	return err
}

// end ends the load and tells what failed.
func (f *farm) end() {
	f.t.Helper()
	f.halt()
	for name, count := range f.counts {
		f.t.Logf("%s: %d", name, count.Load())
		if count.Load() < 50 {
			f.t.Errorf("%s: only %d times", name, count.Load())
		}
	}
	for n := 0; ; n++ {
		select {
		case err := <-f.failed:
			if n < 10 {
				f.t.Error(err)
			}
			continue
		default:
		}
		if n > 0 {
			f.t.Errorf("%d failed", n)
		}
		return
	}
}

// rulesWatch counts what is written to the rules of a host: elements, rules, chains, sets.
type rulesWatch struct {
	p   *netlab.Process
	mu  sync.Mutex
	out bytes.Buffer
}

func (w *rulesWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func watchRules(t *testing.T, h *netlab.Host) *rulesWatch {
	t.Helper()
	nft(t, h, "", "--version") // or skip
	w := &rulesWatch{}
	cmd := exec.Command("nft", "monitor")
	cmd.Stdout, cmd.Stderr = w, w
	var err error
	if w.p, err = h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.p.Kill() })
	for n := 0; !strings.Contains(w.text(), "beacon"); n++ { // until it listens
		if n > 1000 {
			t.Fatalf("nft monitor tells nothing: %s", w.text())
		}
		nft(t, h, "add table ip beacon; delete table ip beacon", "-f", "-")
		time.Sleep(time.Millisecond)
	}
	return w
}

func (w *rulesWatch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// writes are the lines about other than tables.
func (w *rulesWatch) writes() (out []string) {
	lines := bufio.NewScanner(strings.NewReader(w.text()))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) > 1 && (words[0] == "add" || words[0] == "delete" || words[0] == "insert" || words[0] == "replace") && words[1] != "table" {
			out = append(out, lines.Text())
		}
	}
	return out
}

// All backends are replaced, one after the other as a Deployment does it, and nobody
// notices: those that go drain, and end when they are out of the EndpointSlice.
func TestRollingReplacement(t *testing.T) {
	f := newFarm(t, 6)
	f.serve([]int{0, 1, 2})
	p := f.start()
	f.load()
	const step = 150 * time.Millisecond // of a kubelet and a controller, they are slower
	for i := range 3 {
		time.Sleep(step)
		ready := []int{}
		for j := i; j <= i+3; j++ {
			ready = append(ready, j)
		}
		f.serve(ready)
		time.Sleep(step)
		f.serve(ready[1:], i) // preStop
		time.Sleep(2 * step)
		f.serve(ready[1:])
		p.until("nothing leads to the pod any more", func() (bool, string) { return f.left(i) })
		f.echoes[i].Close() // SIGTERM
		f.lines[i].Close()
	}
	time.Sleep(step)
	f.end()
}

// A forwarder that is killed and started again is not noticed by anybody, and finds
// nothing to write.
func TestKilledUnderLoad(t *testing.T) {
	f := newFarm(t, 3)
	f.serve([]int{0, 1, 2})
	p := f.start()
	f.load()
	w := watchRules(t, f.node.Host)
	for range 3 {
		time.Sleep(50 * time.Millisecond)
		p.Kill()
		time.Sleep(100 * time.Millisecond)
		p = f.start()
	}
	time.Sleep(50 * time.Millisecond)
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("three restarts wrote:\n%s", strings.Join(writes, "\n"))
	}
	f.serve([]int{0, 1})
	p.until("the watch sees what is written", func() (bool, string) { return len(w.writes()) > 0, w.text() })
	f.end()
}
