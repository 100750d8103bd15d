package traffic

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

func TestMain(m *testing.M) {
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// route is a frontend of a Service of the namespace shop.
func route(name, addr string, port uint16) *vip.Route {
	r := &vip.Route{Owner: vip.Owner{Service: key("shop", name), Port: "http"}}
	r.Addr, r.Port, r.Protocol = netip.MustParseAddr(addr), port, cluster.TCP
	if r.IsNodePort() {
		r.Kind = vip.NodePort
	}
	return r
}

func comes(r *vip.Route) vip.Change { return vip.Change{Frontend: r.Frontend, New: r} }

// runNFT runs the program in a host.
func runNFT(t *testing.T, h *netlab.Host, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Run(cmd); err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// begin starts a counter in a host, of all that is in the namespace shop.
func begin(t *testing.T, h *netlab.Host) (c *Counter) {
	t.Helper()
	if err := h.Do(func() (err error) {
		c, err = New([]cluster.Key{key("shop", Everything)}, true, slog.New(slog.NewTextHandler(t.Output(), nil)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// values are what Prometheus gets, by the labels.
func values(t *testing.T, c *Counter) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			all[strings.TrimSpace(f.GetName()+" "+words(m.Label))] = m.Counter.GetValue()
		}
	}
	return all
}

func words(labels []*dto.LabelPair) string {
	var list []string
	for _, l := range labels {
		list = append(list, l.GetValue())
	}
	return strings.Join(list, " ")
}

// until waits for a number.
func until(t *testing.T, c *Counter, name string, want float64) {
	t.Helper()
	var all map[string]float64
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if all = values(t, c); all[name] == want {
			if _, there := all[name]; there {
				return
			}
		}
	}
	t.Fatalf("%s is not %v: %v", name, want, all)
}

const (
	webConnections = "signpost_service_connections_total ClusterIP shop http web"
	webIn          = "signpost_service_packets_total in ClusterIP shop http web"
	webOut         = "signpost_service_packets_total out ClusterIP shop http web"
	portOut        = "signpost_service_packets_total out NodePort shop http web"
	failures       = "signpost_traffic_failures_total"
)

// TestCounter lets a Service be dialled in the kernel: what is counted, that the rules of the
// host can be saved and loaded, that a change begins at zero, and what a flush does.
func TestCounter(t *testing.T) {
	lab := netlab.New(t, netlab.Config{Nodes: 1})
	node := lab.Node(1)
	server, err := node.AddPod("server")
	if err == nil {
		_, err = server.Echo(8080)
	}
	var client *netlab.Host
	if err == nil {
		client, err = node.AddPod("client")
	}
	if err != nil {
		t.Fatal(err)
	}
	translate := func() {
		runNFT(t, node.Host, "table ip nat {\nchain services {\ntype nat hook prerouting priority -100\nip daddr 10.96.0.20 tcp dport 80 dnat to "+server.IPv4.String()+":8080\n}\n}\n", "-f", "-")
	}
	ask := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := client.Ask(ctx, "tcp", netip.MustParseAddrPort("10.96.0.20:80")); err != nil {
			t.Fatal(err)
		}
	}
	translate()
	c, nodeAddrs := begin(t, node.Host), []netip.Addr{node.IPv4, node.IPv6}
	c.Follow(nodeAddrs, []vip.Change{
		comes(route("web", "10.96.0.20", 80)), comes(route("web", "0.0.0.0", 30080)), comes(route("web", "::", 30080)), comes(route("db", "fd00:96::1", 80)),
	})
	until(t, c, webConnections, 0)
	for range 3 {
		ask()
	}
	until(t, c, webConnections, 3)
	if all := values(t, c); all[webIn] < 9 || all[webOut] < 6 || all[portOut] != 0 {
		t.Errorf("three connections, each with a question and an answer: %v", all)
	}
	rules := runNFT(t, node.Host, "", "list", "ruleset")
	if n := strings.Count(rules, "30080"); n != 6 {
		t.Errorf("the NodePort is at %d places, want three of each family:\n%s", n, rules)
	}
	runNFT(t, node.Host, "flush ruleset\n"+rules, "-c", "-f", "-")

	// Another Service gets the address: it begins at zero, and so does the first when it is back.
	old, now := route("web", "10.96.0.20", 80), route("shop", "10.96.0.20", 80)
	c.Follow(nodeAddrs, []vip.Change{{Frontend: old.Frontend, Old: old, New: now}})
	until(t, c, strings.ReplaceAll(webConnections, "web", "shop"), 0)
	c.Follow(nodeAddrs, []vip.Change{{Frontend: old.Frontend, Old: now, New: old}})
	until(t, c, webConnections, 0)

	runNFT(t, node.Host, "", "flush", "ruleset")
	until(t, c, failures, 1)
	translate()
	until(t, c, webConnections, 0)
	ask()
	until(t, c, webConnections, 1)
}

// TestLeftover removes what a process left that was killed, and writes nothing where there is none.
func TestLeftover(t *testing.T) {
	netlab.OwnNetwork(t)
	if err := Remove(true); err != nil {
		t.Fatal(err)
	}
	k, err := openKernel(true)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	many := []place{}
	for i := range 1200 { // more than a message of netlink holds
		many = append(many, place{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), cluster.UDP, 53})
	}
	for _, step := range []func() error{k.make, k.make, func() error { return k.edit(nil, many) }} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	there, err := k.read()
	if err != nil || len(there) != len(many) {
		t.Errorf("%d places are there, %v; want %d", len(there), err, len(many))
	}
	if err := Remove(true); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("left: %v\n%s", err, out)
	}
}
