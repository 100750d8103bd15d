package forward

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/apiserver"
)

// A town is a cluster of two nodes: an API server, pods that answer with their name, and one forwarder, on
// the first node.
type town struct {
	api    *apiserver.Server
	lab    *netlab.Lab
	node   *netlab.Node            // where the forwarder runs
	client *netlab.Host            // a pod there that is no backend
	pods   map[string]*netlab.Host // the backends, by name
	homes  map[string]string       // the node of each
	binary string
	config string     // the forwarder's KubeProxyConfiguration
	main   *testing.T // owns the processes: they outlive a subtest

	vips     []netip.Addr // of the Service echo, one a family
	nodePort uint16
	running  *forwarder
}

// port is that of the Service echo; behind it pods listen at podPort.
const (
	port    = 80
	podPort = 8080
)

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{main: t, lab: netlab.New(t, netlab.Config{Nodes: 2}), pods: map[string]*netlab.Host{}, homes: map[string]string{}}
	w.api = apiserver.Start(t)
	w.binary = buildForwarder(t)
	w.node = w.lab.Node(1)
	for name, n := range map[string]*netlab.Node{"client": w.node, "a": w.node, "b": w.lab.Node(2), "c": w.node} {
		pod, err := n.AddPod(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "client" {
			w.client = pod
			continue
		}
		if _, err := pod.Echo(podPort); err != nil {
			t.Fatal(err)
		}
		w.pods[name], w.homes[name] = pod, n.Name
	}
	// At the API server's own address, so that URL and certificate fit.
	at := strings.TrimPrefix(w.api.URL, "https://")
	relay, err := w.node.Relay(at, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	w.install(t)
	return w
}

// install applies what a cluster with the forwarder has, and writes the forwarder's configuration: that of the
// ConfigMap, and where the API is and whom it is asked as.
func (w *town) install(t *testing.T) {
	t.Helper()
	w.api.Kubectl(t, "apply", "-k", filepath.Join(root, "manifests", "forwarder"))
	text := w.api.Kubectl(t, "-n", "kube-system", "get", "configmap", "signpost-forwarder", `-o=jsonpath={.data.config\.conf}`)
	cidr := "clusterCIDR: 10.244.0.0/16"
	if strings.Count(text, cidr) != 1 {
		t.Fatalf("the ConfigMap of manifests/forwarder does not say %q once:\n%s", cidr, text)
	}
	if w.lab.HasIPv6() {
		text = strings.Replace(text, cidr, cidr+",fd00:10:244::/48", 1)
	}
	kubeconfig := w.api.ServiceAccountKubeconfig(t, "kube-system", "signpost-forwarder")
	text += fmt.Sprintf("\nclientConnection: {kubeconfig: %q}\n", kubeconfig) +
		"conntrack: {maxPerCore: 0}\n" // its limit is the machine's and not the node's
	w.config = filepath.Join(t.TempDir(), "config.conf")
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.apply(t, fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s}\n", w.node.Name))
	w.api.Kubectl(t, "patch", "node", w.node.Name, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status": {"addresses": [{"type": "InternalIP", "address": %q}]}}`, w.node.IPv4))
}

// start runs the forwarder and waits until it says that it works.
func (w *town) start(t *testing.T) {
	t.Helper()
	w.running = startForwarder(w.main, w.node.Host, w.binary, "--config="+w.config)
	w.running.becomes(t, "the forwarder is healthy", "http://127.0.0.1:10256/healthz", func(code int, _ string) bool { return code == 200 })
}

// apply has kubectl apply a text.
func (w *town) apply(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.api.Kubectl(t, "apply", "-f", file)
}

// create applies the Service echo and learns its addresses, which are the API server's choice.
func (w *town) create(t *testing.T) {
	t.Helper()
	policy := map[bool]string{false: "SingleStack", true: "RequireDualStack"}[w.lab.HasIPv6()]
	w.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec:
  type: NodePort
  ipFamilyPolicy: %s
  ports: [{name: tcp, port: %d, protocol: TCP}, {name: udp, port: %[2]d, protocol: UDP}]
`, policy, port))
	get := func(path string) []string {
		return strings.Fields(w.api.Kubectl(t, "get", "service", "echo", "-o=jsonpath="+path))
	}
	w.vips = nil
	for _, text := range get("{.spec.clusterIPs[*]}") {
		w.vips = append(w.vips, netip.MustParseAddr(text))
	}
	// The API server may give the two protocols two NodePorts; it is asked for one.
	if _, err := fmt.Sscan(get("{.spec.ports[0].nodePort}")[0], &w.nodePort); err != nil {
		t.Fatal(err)
	}
	w.api.Kubectl(t, "patch", "service", "echo", "--type=json", "-p",
		fmt.Sprintf(`[{"op": "replace", "path": "/spec/ports/1/nodePort", "value": %d}]`, w.nodePort))
}

// serve applies the EndpointSlices of the Service echo, one for each family, with these pods.
func (w *town) serve(t *testing.T, names ...string) {
	t.Helper()
	slice := func(family string, addr func(*netlab.Host) netip.Addr) string {
		var endpoints []string
		for _, name := range names {
			endpoints = append(endpoints, fmt.Sprintf("{addresses: [%q], conditions: {ready: true}, nodeName: %s}", addr(w.pods[name]), w.homes[name]))
		}
		return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo-%s, namespace: default, labels: {kubernetes.io/service-name: echo}}
addressType: %s
ports: [{name: tcp, port: %d, protocol: TCP}, {name: udp, port: %[3]d, protocol: UDP}]
endpoints: [%s]
---`, strings.ToLower(family), family, podPort, strings.Join(endpoints, ", "))
	}
	text := slice("IPv4", func(h *netlab.Host) netip.Addr { return h.IPv4 })
	if w.lab.HasIPv6() {
		text += slice("IPv6", func(h *netlab.Host) netip.Addr { return h.IPv6 })
	}
	w.apply(t, text)
}

// A way leads a host to the Service echo.
type way struct {
	from    *netlab.Host
	network string
	to      netip.AddrPort
}

func (y way) String() string { return fmt.Sprintf("%s → %s %s", y.from.Name, y.network, y.to) }

// ways are all of them: by the VIP from a pod, from a backend and from the node itself, and by the NodePort from
// outside.
func (w *town) ways() []way {
	var all []way
	for _, network := range []string{"tcp", "udp"} {
		for _, vip := range w.vips {
			for _, from := range []*netlab.Host{w.client, w.pods["a"], w.node.Host} {
				all = append(all, way{from, network, netip.AddrPortFrom(vip, port)})
			}
		}
		all = append(all, way{w.lab.Outside, network, netip.AddrPortFrom(w.node.IPv4, w.nodePort)})
	}
	return all
}

// ask asks once and returns who answers. What is not answered in a while is an error.
func (y way) ask(ctx context.Context, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := y.from.Ask(ctx, y.network, y.to)
	return r.Server, err
}

const (
	// streak is how many answers in a row show who is behind a VIP: of three equal backends one stays silent for so
	// long in one of 100,000 cases, and then another streak begins.
	streak = 30
	// answer is how long one may take on a busy machine, silence when nobody is taken to be there.
	answer  = 10 * time.Second
	silence = 300 * time.Millisecond
)

// reaches waits until all ways lead to all of these pods and to no other, and no tracked UDP flow does that a client
// could take up again by chance.
func (w *town) reaches(t *testing.T, want ...string) {
	t.Helper()
	for _, y := range w.ways() {
		eventually(t, fmt.Sprintf("%s leads to %v", y, want), func() error { return y.leads(t.Context(), want) })
	}
	eventually(t, fmt.Sprintf("UDP flows lead to %v alone", want), func() error { return w.flowsLead(want) })
}

// flowsLead looks at the UDP flows that the node tracks. The forwarder removes stale ones a while after the rules
// have changed.
func (w *town) flowsLead(want []string) error {
	return w.node.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return fmt.Errorf("list the tracked flows: %w", err)
			}
			for _, f := range flows {
				answerer, _ := netip.AddrFromSlice(f.Reverse.SrcIP)
				for name, pod := range w.pods {
					of := answerer.Unmap() == pod.IPv4 || answerer == pod.IPv6
					if of && f.Forward.Protocol == unix.IPPROTO_UDP && !slices.Contains(want, name) {
						return fmt.Errorf("a flow leads to %s: %v", name, f)
					}
				}
			}
		}
		return nil
	})
}

// goesOn is reaches for what must be so already.
func (w *town) goesOn(t *testing.T, want ...string) {
	t.Helper()
	for _, y := range w.ways() {
		for range streak {
			if got, err := y.ask(t.Context(), answer); err != nil || !slices.Contains(want, got) {
				t.Fatalf("%s: %q answers, %v; want one of %v", y, got, err, want)
			}
		}
	}
}

// keepAsking asks all the time from one host after the other, and fails the test when anybody but these pods
// answers, or nobody, even once. It goes on until it is stopped, and then returns how many answered.
func (w *town) keepAsking(t *testing.T, want ...string) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan int)
	go func() {
		n := 0
		defer func() { answered <- n }()
		for {
			for _, y := range w.ways() {
				got, err := y.ask(ctx, answer)
				if ctx.Err() != nil {
					return
				}
				if err != nil || !slices.Contains(want, got) {
					t.Errorf("%s: %q answers, %v; want one of %v", y, got, err, want)
					return
				}
				n++
			}
		}
	}()
	stop = sync.OnceValue(func() int {
		cancel()
		return <-answered
	})
	t.Cleanup(func() { stop() })
	return stop
}

// leads asks a streak of times.
func (y way) leads(ctx context.Context, want []string) error {
	seen := map[string]int{}
	for range streak {
		got, err := y.ask(ctx, time.Second)
		if err != nil {
			return err
		}
		seen[got]++
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		return fmt.Errorf("%v answer", got)
	}
	return nil
}

// refuses waits until every way says that nobody is there.
func (w *town) refuses(t *testing.T) {
	t.Helper()
	for _, y := range w.ways() {
		eventually(t, y.String()+" is refused", func() error {
			return y.refused(t.Context())
		})
	}
}

// refused is nil if the kernel says at once that nobody is there. Who sends a datagram from the node itself hears it
// from sendto(2), as EPERM: the rules see it before it leaves.
func (y way) refused(ctx context.Context) error {
	got, err := y.ask(ctx, answer)
	if errors.Is(err, syscall.ECONNREFUSED) || y.network == "udp" && errors.Is(err, syscall.EPERM) {
		return nil
	}
	return fmt.Errorf("%q answers, error: %v", got, err)
}

// isGone waits until no way leads anywhere any more. All are asked at a time: silence takes its time.
func (w *town) isGone(t *testing.T) {
	t.Helper()
	eventually(t, "nobody answers", func() error {
		ways := w.ways()
		errs := make([]error, len(ways))
		var wait sync.WaitGroup
		for i, y := range ways {
			wait.Go(func() {
				for range 3 {
					if got, err := y.ask(t.Context(), silence); err == nil {
						errs[i] = fmt.Errorf("%s: %s answers", y, got)
					}
				}
			})
		}
		wait.Wait()
		return errors.Join(errs...)
	})
}

// tables are the names of all nftables tables of the node.
func (w *town) tables(t *testing.T) []string {
	t.Helper()
	var names []string
	if err := w.node.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		all, err := conn.ListTables()
		for _, table := range all {
			names = append(names, fmt.Sprintf("family %d: %s", table.Family, table.Name))
		}
		return err
	}); err != nil {
		t.Fatalf("list the tables of %s: %v", w.node.Name, err)
	}
	return names
}
