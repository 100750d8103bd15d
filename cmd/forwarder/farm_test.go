package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
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
	mode   string       // of the forwarders that start starts
	loses  bool         // with a backend IPVS may lose a datagram, which the client sends again
	udp    sync.RWMutex // held by who asks over UDP; see remove
	pods   []*netlab.Host
	echoes []*netlab.EchoServer
	lines  []net.Listener // for long connections
	dir    string         // of manifests
	etc    string

	stop    chan struct{}
	halt    func()
	all     sync.WaitGroup
	clients sync.WaitGroup
	counts  map[string]*atomic.Int64
	failed  chan error
}

const (
	shortPort, longPort = 80, 81
	farmVIP             = "10.96.0.20"
)

func newFarm(t *testing.T, mode string, pods int) *farm {
	if mode == "ipvs" {
		netlab.NeedIPVS(t)
	}
	f := &farm{
		t: t, mode: mode, loses: mode == "ipvs", node: netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1), dir: t.TempDir(), etc: t.TempDir(),
		stop: make(chan struct{}), failed: make(chan error, 1000), counts: map[string]*atomic.Int64{},
	}
	f.halt = sync.OnceFunc(func() {
		close(f.stop)
		for _, l := range f.lines {
			l.Close()
		}
	})
	t.Cleanup(f.all.Wait) // when the clients' connections are closed
	t.Cleanup(f.clients.Wait)
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
		l, err := h.Listen(netip.AddrPortFrom(h.IPv4, 8081).String())
		if err != nil {
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

// remove takes a pod out of the EndpointSlice that still answers, and waits until nothing leads to it. Meanwhile nothing
// is asked over UDP: who has no backend any more begins a new flow, and an answer from before belongs to none.
func (f *farm) remove(p *process, pod int, ready []int) {
	f.t.Helper()
	f.udp.Lock()
	defer f.udp.Unlock()
	f.serve(ready)
	p.until("nothing leads to the pod any more", func() (bool, string) { return f.left(pod) })
}

func (f *farm) start() *process {
	f.t.Helper()
	p := start(f.t, f.node.Host, false, "--manifests="+f.dir, "--config="+f.config())
	p.until("the rules are in place", func() (bool, string) {
		return strings.Contains(p.logged(), "rules are in place"), p.logged()
	})
	return p
}

// config writes the configuration of a forwarder, as an operator edits it, and returns the file.
func (f *farm) config() string {
	f.t.Helper()
	text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\n" +
		"conntrack: {maxPerCore: 0}\nmode: " + f.mode + "\n"
	file := filepath.Join(f.etc, "config")
	if err := os.WriteFile(file+".next", []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		f.t.Fatal(err)
	}
	return file
}

// left reports whether neither a rule nor a UDP flow leads to a pod any more. In mode ipvs
// it has weight 0, or is gone.
func (f *farm) left(pod int) (bool, string) {
	ip := f.pods[pod].IPv4.String()
	leads, rules := ip+" . 80", ""
	if f.mode == "ipvs" {
		leads, rules = "-r "+ip+":80", drained.ReplaceAllString(virtualServers(f.t, f.node.Host), "")
	} else {
		rules = nft(f.t, f.node.Host, "", "list", "ruleset")
	}
	if strings.Contains(rules, leads) {
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
		conn := f.dialLong(network)
		f.repeat(fmt.Sprintf("long %s exchange %d", network, i), func() error {
			time.Sleep(2 * time.Millisecond)
			return f.say(conn, network, "hello\n")
		})
	}
}

// dialLong opens a connection that lasts.
func (f *farm) dialLong(network string) net.Conn {
	f.t.Helper()
	port := map[string]uint16{"tcp": longPort, "udp": shortPort}[network]
	conn, err := f.client.Dial(f.t.Context(), network, netip.AddrPortFrom(netip.MustParseAddr(farmVIP), port))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return conn
}

// repeat does something until the load ends.
func (f *farm) repeat(name string, once func() error) {
	count := &atomic.Int64{}
	f.counts[name] = count
	f.clients.Go(func() {
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
	return f.say(conn, network, question)
}

// say asks once; in mode ipvs over UDP again if no answer comes, as clients do.
func (f *farm) say(conn net.Conn, network, question string) (err error) {
	if network != "udp" {
		return say(conn, question, 5*time.Second)
	}
	f.udp.RLock()
	defer f.udp.RUnlock()
	tries := 1
	if f.loses {
		tries = 5
	}
	for range tries {
		if err = say(conn, question, 2*time.Second); err == nil {
			return nil
		}
	}
	return err
}

// say sends once and waits for something to come back: nothing is sent again, so a
// packet that is lost fails.
func say(conn net.Conn, question string, limit time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
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
	f.clients.Wait() // what hangs has failed
	for name, count := range f.counts {
		f.t.Logf("%s: %d", name, count.Load())
		if count.Load() < 20 {
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
