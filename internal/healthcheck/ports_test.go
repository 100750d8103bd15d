package healthcheck

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// checked is the route of a healthCheckNodePort.
func checked(port uint16, healthy int) *vip.Route {
	return &vip.Route{
		Frontend: vip.Frontend{Addr: vip.AnyNode4, Port: port, Protocol: cluster.TCP}, Kind: vip.HealthCheck, Healthy: healthy,
		Owner: vip.Owner{Service: cluster.Key{Namespace: "shop", Name: "web"}},
	}
}

func changed(before, after *vip.Route) []vip.Change {
	r := after
	if r == nil {
		r = before
	}
	return []vip.Change{{Frontend: r.Frontend, Old: before, New: after}}
}

// running is a Ports on 127.0.0.1 that runs until the test ends.
func running(t *testing.T, h *Health, tell func(*vip.Route, error)) *Ports {
	t.Helper()
	p := NewPorts(h, tell)
	p.pause = 10 * time.Millisecond
	p.Listen([]netip.Addr{netip.MustParseAddr("127.0.0.1")})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return p
}

// query returns code, headers and body; code 0: nobody listens.
func query(addr string, port uint16) (int, http.Header, string) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(fmt.Sprintf("http://%s:%d/any/path", addr, port))
	if err != nil {
		return 0, nil, err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return r.StatusCode, r.Header, string(body)
}

func becomes(t *testing.T, what string, addr string, port uint16, code int) (http.Header, string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		got, header, body := query(addr, port)
		if got == code {
			return header, body
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d %s, want %d", what, got, body, code)
		}
	}
}

// takePort binds a port of 127.0.0.1 that nobody has.
func takePort(t *testing.T) (uint16, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return uint16(l.Addr().(*net.TCPAddr).Port), l
}

// The answers are those of kube-proxy, byte by byte: load balancers of clouds read them.
func TestPorts(t *testing.T) {
	port, l := takePort(t)
	l.Close()
	h := NewHealth(50*time.Millisecond, IPv4)
	h.Updated()
	h.Updated()
	p := running(t, h, nil)
	p.Change(changed(nil, checked(port, 2)))
	header, body := becomes(t, "two endpoints", "127.0.0.1", port, 200)
	const want = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}\n"
	if body != want {
		t.Errorf("body %q, want %q", body, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": "2",
	} {
		if header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, header.Get(name), want)
		}
	}
	p.Change(changed(checked(port, 2), checked(port, 0)))
	header, body = becomes(t, "no endpoint", "127.0.0.1", port, 503)
	if !strings.Contains(body, `"localEndpoints": 0`) || header.Get("X-Load-Balancing-Endpoint-Weight") != "0" {
		t.Errorf("no endpoint: %v %s", header, body)
	}
	p.Change(changed(checked(port, 0), checked(port, 1)))
	becomes(t, "an endpoint", "127.0.0.1", port, 200)
	h.Queued()
	if _, body = becomes(t, "the rules are late", "127.0.0.1", port, 503); !strings.Contains(body, `"serviceProxyHealthy": false`) {
		t.Errorf("the rules are late: %s", body)
	}
	h.Updated()
	becomes(t, "the rules are there", "127.0.0.1", port, 200)
	// Of another kind now: the port is a NodePort.
	node := checked(port, 0)
	node.Kind = vip.NodePort
	p.Change(changed(checked(port, 1), node))
	becomes(t, "not one any more", "127.0.0.1", port, 0)
}

func TestPortsFollowAddresses(t *testing.T) {
	port, l := takePort(t)
	l.Close()
	h := NewHealth(time.Minute, IPv4)
	h.Updated()
	p := running(t, h, nil)
	p.Change(changed(nil, checked(port, 1)))
	becomes(t, "127.0.0.1", "127.0.0.1", port, 200)
	if code, _, _ := query("127.0.0.2", port); code != 0 {
		t.Errorf("it listens on 127.0.0.2, too: %d", code)
	}
	p.Listen([]netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::1")})
	becomes(t, "127.0.0.2", "127.0.0.2", port, 200)
	becomes(t, "127.0.0.1 is left", "127.0.0.1", port, 0)
	if code, _, _ := query("[::1]", port); code != 0 {
		t.Errorf("the port of IPv4 is on ::1, too: %d", code)
	}
	p.Listen([]netip.Addr{netip.IPv4Unspecified()})
	becomes(t, "all addresses", "127.0.0.1", port, 200)
}

// A port that somebody has is told once, and taken when it is free.
func TestPortsThatAreTaken(t *testing.T) {
	port, l := takePort(t)
	told := make(chan string, 100)
	h := NewHealth(time.Minute, IPv4)
	h.Adopted()
	p := running(t, h, func(r *vip.Route, err error) { told <- fmt.Sprint(r.Owner, " ", err) })
	p.Change(changed(nil, checked(port, 1)))
	if got := <-told; !strings.Contains(got, "shop/web") || !strings.Contains(got, "address already in use") {
		t.Errorf("told %q", got)
	}
	time.Sleep(5 * p.pause)
	l.Close()
	becomes(t, "free", "127.0.0.1", port, 200)
	if n := len(told); n > 0 {
		t.Errorf("told %d times more: %s", n, <-told)
	}
	p.Change(changed(checked(port, 1), nil))
	becomes(t, "gone", "127.0.0.1", port, 0)
}
