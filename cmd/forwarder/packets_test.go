package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// town is a cluster of two nodes with a running forwarder each, and a folder that
// says what they route.
type town struct {
	t    *testing.T
	lab  *netlab.Lab
	dir  string
	pods map[string]*netlab.Host
	home map[string]string // the node of each pod
	ctx  context.Context
}

func newTown(t *testing.T) *town {
	c := &town{t: t, lab: netlab.New(t, netlab.Config{Nodes: 2, IPv4Only: true}), dir: t.TempDir(), pods: map[string]*netlab.Host{}, home: map[string]string{}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	c.ctx = ctx
	for i, name := range []string{"a", "b", "client"} {
		n := c.lab.Node(1 + i%2)
		pod, err := n.AddPod(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pod.Echo(8080); err != nil {
			t.Fatal(err)
		}
		c.pods[name], c.home[name] = pod, n.Name
	}
	return c
}

// serve writes the Service echo, on TCP and UDP, with these pods behind it. A pod with "-" after its name terminates and
// serves, one with "!" terminates and serves no more.
func (c *town) serve(pods ...string) {
	c.t.Helper()
	var endpoints []string
	for _, pod := range pods {
		name := strings.TrimRight(pod, "-!")
		conditions := map[string]string{
			"": "", "-": "ready: false, serving: true, terminating: true", "!": "ready: false, serving: false, terminating: true",
		}[strings.TrimPrefix(pod, name)]
		endpoints = append(endpoints, fmt.Sprintf("{addresses: [%s], nodeName: %s, conditions: {%s}}", c.pods[name].IPv4, c.home[name], conditions))
	}
	text := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  ports: [{name: tcp, port: 80, nodePort: 30080}, {name: udp, port: 80, nodePort: 30080, protocol: UDP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo-1, namespace: default, labels: {kubernetes.io/service-name: echo}}
addressType: IPv4
ports: [{name: tcp, port: 8080}, {name: udp, port: 8080, protocol: UDP}]
endpoints: [%s]
`, strings.Join(endpoints, ", "))
	c.write("echo", text)
}

// write writes a manifest in one step.
func (c *town) write(name, text string) {
	c.t.Helper()
	next := filepath.Join(c.dir, ".next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(c.dir, name+".yaml")); err != nil {
		c.t.Fatal(err)
	}
}

// answers asks until every one of want has answered, and fails when another does
// after that.
func (c *town) answers(from *netlab.Host, network, to string, want ...string) {
	c.t.Helper()
	var seen []string
	for len(seen) < len(want) {
		r, err := from.Ask(c.ctx, network, netip.MustParseAddrPort(to))
		if err != nil && c.ctx.Err() != nil {
			c.t.Fatalf("%s asks %s %s: %v; %v answered, want %v", from.Name, network, to, err, seen, want)
		}
		if err == nil && slices.Contains(want, r.Server) && !slices.Contains(seen, r.Server) {
			seen = append(seen, r.Server)
		}
	}
	for range 20 {
		r, err := from.Ask(c.ctx, network, netip.MustParseAddrPort(to))
		if err != nil || !slices.Contains(want, r.Server) {
			c.t.Fatalf("%s asks %s %s: %q answered, %v; want one of %v", from.Name, network, to, r.Server, err, want)
		}
	}
}

// The whole way: from a folder to packets.
func TestPackets(t *testing.T) {
	c := newTown(t)
	c.serve("a", "b")
	for _, n := range c.lab.Nodes {
		start(t, n.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0").routesTo(c.pods["a"], c.pods["b"])
	}
	client, a := c.pods["client"], c.pods["a"]
	for _, network := range []string{"tcp", "udp"} {
		c.answers(client, network, "10.96.0.20:80", "a", "b")
		c.answers(c.lab.Node(1).Host, network, "10.96.0.20:80", "a", "b")
		c.answers(a, network, "10.96.0.20:80", "a", "b") // also itself
		for _, n := range c.lab.Nodes {
			c.answers(c.lab.Outside, network, netip.AddrPortFrom(n.IPv4, 30080).String(), "a", "b")
		}
	}

	// A client that keeps its port is served by the backend that is left.
	conn, err := client.Dial(c.ctx, "udp", netip.MustParseAddrPort("10.96.0.20:80"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	was := c.say(conn)
	left := map[string]string{"a": "b", "b": "a"}[was]
	c.serve(left)
	for got := was; got != left; got = c.say(conn) {
		if c.ctx.Err() != nil {
			t.Fatalf("%s still answers, although %s alone is behind the Service", got, left)
		}
	}
	c.answers(client, "tcp", "10.96.0.20:80", left)

	c.serve()
	for {
		_, err := client.Ask(c.ctx, "tcp", netip.MustParseAddrPort("10.96.0.20:80"))
		if errors.Is(err, unix.ECONNREFUSED) {
			break
		}
		if c.ctx.Err() != nil {
			t.Fatalf("without endpoints: %v, want a refusal", err)
		}
	}
}

// say sends a datagram and returns who answers it; datagrams may be lost while a pod goes.
func (c *town) say(conn net.Conn) string {
	c.t.Helper()
	buf := make([]byte, 512)
	for c.ctx.Err() == nil {
		if _, err := conn.Write([]byte("x")); err != nil {
			continue // an ICMP error of an earlier one
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := conn.Read(buf)
		if err != nil {
			continue
		}
		r, err := netlab.ParseReply(string(buf[:n]))
		if err != nil {
			c.t.Fatal(err)
		}
		return r.Server
	}
	c.t.Fatal("nobody answers")
	return ""
}

// routesTo waits until the rules lead to these pods.
func (p *process) routesTo(pods ...*netlab.Host) {
	p.t.Helper()
	p.until("the rules are there", func() (bool, string) {
		rules := nft(p.t, p.host, "", "list", "ruleset")
		for _, pod := range pods {
			if !strings.Contains(rules, ": "+pod.IPv4.String()+" . 8080") {
				return false, rules
			}
		}
		return true, rules
	})
}
