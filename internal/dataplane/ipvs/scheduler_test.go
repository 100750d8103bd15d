package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// bench is a node with pods a, b, c that serve, and clients.
type bench struct {
	t       *testing.T
	lab     *netlab.Lab
	pods    map[string]*netlab.Host
	plane   *Dataplane
	table   *vip.Table
	clients []*netlab.Host
}

func newBench(t *testing.T) *bench {
	netlab.NeedIPVS(t)
	b := &bench{t: t, lab: netlab.New(t, netlab.Config{Nodes: 1}), pods: map[string]*netlab.Host{}, table: vip.NewTable()}
	node := b.lab.Node(1)
	b.clients = append(b.clients, b.lab.Outside)
	for _, name := range []string{"a", "b", "c", "client-1", "client-2", "client-3", "client-4", "client-5", "client-6"} {
		pod, err := node.AddPod(name)
		if err == nil {
			_, err = pod.Echo(8080)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(name) > 1 {
			b.clients = append(b.clients, pod)
		} else {
			b.pods[name] = pod
		}
	}
	b.restart()
	return b
}

// restart opens the dataplane anew.
func (b *bench) restart() {
	b.t.Helper()
	b.onNode(func() error {
		if b.plane != nil {
			b.plane.Close()
		}
		b.plane = open(b.t, Options{})
		host := testHost
		host.NodePortAddrs = []netip.Addr{b.lab.Node(1).IPv4}
		return b.plane.Sync(b.t.Context(), host, b.table)
	})
}

func (b *bench) onNode(f func() error) {
	b.t.Helper()
	if err := b.lab.Node(1).Do(f); err != nil {
		b.t.Fatal(err)
	}
}

// serve makes a NodePort with a scheduler and these pods.
func (b *bench) serve(port uint16, scheduler string, pods ...string) {
	b.t.Helper()
	r := &vip.Route{
		Frontend: vip.Frontend{Addr: vip.AnyNode4, Port: port, Protocol: cluster.TCP}, Kind: vip.NodePort, Scheduler: scheduler,
		Owner: vip.Owner{Service: cluster.Key{Namespace: "default", Name: fmt.Sprint("port-", port)}},
	}
	for _, name := range pods {
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: netip.AddrPortFrom(b.pods[name].IPv4, 8080), Local: true})
	}
	slices.SortFunc(r.Cluster, func(x, y vip.Backend) int { return x.Compare(y.AddrPort) })
	r.Policy = vip.ClusterMasquerade
	b.onNode(func() error { return applyAll(b.plane, b.table.Set(r.Owner.Service, []*vip.Route{r})) })
}

// weigh gives a pod another weight, as an operator would.
func (b *bench) weigh(port uint16, pod string, weight int) {
	b.t.Helper()
	b.onNode(func() error {
		output(b.t, "ipvsadm", "-e", "-t", b.at(port).String(), "-r", b.pods[pod].IPv4.String()+":8080", "-m", "-w", fmt.Sprint(weight))
		return nil
	})
}

func (b *bench) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(b.lab.Node(1).IPv4, port) }

// ask tells which pod answers a client.
func (b *bench) ask(client *netlab.Host, port uint16) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	reply, err := client.Ask(ctx, "tcp", b.at(port))
	if err != nil {
		b.t.Fatalf("%s asks port %d: %v", client.Name, port, err)
	}
	return reply.Server
}

// asked counts the answers of n questions from outside.
func (b *bench) asked(port uint16, n int) string {
	b.t.Helper()
	counts := map[string]int{}
	for range n {
		counts[b.ask(b.lab.Outside, port)]++
	}
	return fmt.Sprint(counts)
}

// hold opens a connection from outside and tells which pod has it.
func (b *bench) hold(port uint16) (net.Conn, string) {
	b.t.Helper()
	before := b.active(port)
	conn, err := b.lab.Outside.Dial(b.t.Context(), "tcp", b.at(port))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	for pod, n := range b.active(port) {
		if n > before[pod] {
			return conn, pod
		}
	}
	b.t.Fatalf("no pod has one connection more than %v", before)
	return nil, ""
}

// active counts the open connections of each pod.
func (b *bench) active(port uint16) map[string]int {
	b.t.Helper()
	counts := map[string]int{}
	b.onNode(func() error {
		list, err := b.plane.servers.handle.GetDestinations(at(vip.Frontend{Addr: b.at(port).Addr(), Port: port, Protocol: cluster.TCP}).service(settings{}))
		for _, d := range list {
			for name, pod := range b.pods {
				if pod.IPv4 == backendOf(d).Addr() {
					counts[name] = d.ActiveConnections
				}
			}
		}
		return err
	})
	return counts
}

// held opens n connections and counts who has them.
func (b *bench) held(port uint16, n int) string {
	b.t.Helper()
	counts := map[string]int{}
	for range n {
		_, pod := b.hold(port)
		counts[pod]++
	}
	return fmt.Sprint(counts)
}

// Each scheduler does what its name says.
func TestSchedulers(t *testing.T) {
	b := newBench(t)
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, expected %s", what, got, want)
		}
	}
	b.serve(30001, "", "a", "b", "c")
	expect("rr takes turns", b.asked(30001, 9), "map[a:3 b:3 c:3]")

	b.serve(30002, "wrr", "a", "b", "c")
	b.weigh(30002, "b", 2)
	b.weigh(30002, "c", 3)
	expect("wrr takes turns by weight", b.asked(30002, 12), "map[a:2 b:4 c:6]")
	b.restart()
	expect("wrr after a restart", b.asked(30002, 12), "map[a:2 b:4 c:6]")

	b.serve(30003, "lc", "a", "b", "c")
	first, pod := b.hold(30003)
	expect("lc, all but one connection held", fmt.Sprint(len(b.held(30003, 2))), fmt.Sprint(len("map[a:1 b:1]")))
	first.Close()
	time.Sleep(100 * time.Millisecond)
	_, next := b.hold(30003)
	expect("lc chooses the one that became free", next, pod)

	b.serve(30004, "wlc", "a", "b", "c")
	b.weigh(30004, "c", 2)
	expect("wlc, by weight", b.held(30004, 8), "map[a:2 b:2 c:4]")
	b.serve(30005, "nq", "a", "b", "c")
	expect("nq never queues", b.held(30005, 3), "map[a:1 b:1 c:1]")
	b.serve(30006, "sed", "a", "b", "c")
	b.weigh(30006, "a", 3)
	expect("sed, the shortest delay first", b.held(30006, 5), "map[a:3 b:1 c:1]")

	b.serve(30007, "dh", "a", "b", "c")
	expect("dh, by destination: one for all", fmt.Sprint(len(b.byClient(30007))), "7")
	expect("dh, how many pods", fmt.Sprint(len(different(b.byClient(30007)))), "1")
	for port, name := range map[uint16]string{30008: "sh", 30009: "mh"} {
		b.serve(port, name, "a", "b", "c")
		was := b.byClient(port)
		if len(different(was)) < 2 {
			t.Errorf("%s: all of %d clients get one pod: %v", name, len(was), was)
		}
		expect(name+", the same again", fmt.Sprint(b.byClient(port)), fmt.Sprint(was))
	}
	b.consistent(30009)
}

// byClient tells which pod each client gets.
func (b *bench) byClient(port uint16) map[string]string {
	b.t.Helper()
	got := map[string]string{}
	for _, c := range b.clients {
		got[c.Name] = b.ask(c, port)
	}
	return got
}

func different(m map[string]string) []string {
	list := slices.Sorted(maps.Values(m))
	return slices.Compact(list)
}

// consistent: of those who had a pod that stays most keep it when another goes (mh).
func (b *bench) consistent(port uint16) {
	b.t.Helper()
	was := b.byClient(port)
	b.serve(port, "mh", "a", "b")
	now := b.byClient(port)
	kept, could := 0, 0
	for client, pod := range was {
		if pod != "c" {
			could++
			if now[client] == pod {
				kept++
			}
		}
		if now[client] == "c" {
			b.t.Errorf("mh: %s still gets the pod that went", client)
		}
	}
	if 2*kept < could {
		b.t.Errorf("mh: only %d of %d clients keep their pod: %v, before %v", kept, could, now, was)
	}
}

// A pod that goes ends what it began, also over a restart, and then is gone.
func TestDrain(t *testing.T) {
	b := newBench(t)
	b.serve(30001, "rr", "a")
	conn, _ := b.hold(30001)
	b.serve(30001, "rr", "b")
	weights := func() string {
		var list []string
		b.onNode(func() error {
			for line := range strings.Lines(output(t, "ipvsadm", "-S", "-n")) {
				for name, pod := range b.pods {
					if strings.Contains(line, " "+pod.IPv4.String()+":8080 ") {
						list = append(list, name+line[strings.LastIndex(line, "-w"):])
					}
				}
			}
			return nil
		})
		slices.Sort(list)
		return strings.TrimSpace(strings.Join(list, ""))
	}
	if got := weights(); got != "a-w 0\nb-w 1" {
		t.Errorf("after the change:\n%s", got)
	}
	if got := b.asked(30001, 3); got != "map[b:3]" {
		t.Errorf("new connections: %s", got)
	}
	b.restart()
	if got := weights(); got != "a-w 0\nb-w 1" {
		t.Errorf("after a restart:\n%s", got)
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(answer); err != nil || !strings.Contains(string(answer[:n]), "server: a") {
		t.Errorf("the old connection: %q, %v", answer[:n], err)
	}
	// A reset ends a connection soonest: IPVS forgets it after 10 s.
	if tcp, ok := conn.(*net.TCPConn); !ok || errors.Join(tcp.SetLinger(0), tcp.Close()) != nil {
		t.Fatal("the connection was not reset")
	}
	deadline := time.Now().Add(3 * time.Minute)
	for weights() != "b-w 1" && time.Now().Before(deadline) {
		time.Sleep(500 * time.Millisecond)
		b.onNode(b.plane.servers.reap)
	}
	if got := weights(); got != "b-w 1" {
		t.Errorf("at the end:\n%s", got)
	}
	b.serve(30001, "rr", "a", "b")
	if got := weights(); got != "a-w 1\nb-w 1" {
		t.Errorf("when it comes back:\n%s", got)
	}
}
