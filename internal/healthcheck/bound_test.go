package healthcheck

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// from is a client with an address of its own.
func from(ip string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
}

// Clients that keep connections cost a bounded number of them, and do not keep another from asking.
func TestConnectionsAreBounded(t *testing.T) {
	const most, greedy = 16, 200
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBound(most)
	server := bounded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(b.on(l)) }()
	defer func() { server.Close(); <-ended }()
	count := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.open)
	}
	probe := func(what string) {
		t.Helper()
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return from("127.0.0.9").DialContext(ctx, network, addr)
			},
		}}
		r, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer r.Body.Close()
		if body, _ := io.ReadAll(r.Body); string(body) != "ok" {
			t.Errorf("%s: %q", what, body)
		}
		if n := count(); n > most {
			t.Errorf("%s: %d connections, want at most %d", what, n, most)
		}
	}
	var kept []net.Conn
	defer func() {
		for _, c := range kept {
			c.Close()
		}
	}()
	keep := func(ip string) {
		t.Helper()
		c, err := from(ip).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, c)
	}
	for range greedy {
		keep("127.0.0.2")
	}
	probe("one client has all connections")
	keep("127.0.0.3")
	for range greedy {
		keep("127.0.0.2")
	}
	probe("after more of it")
	// The modest client still has its connection.
	modest := kept[greedy]
	_, _ = io.WriteString(modest, "GET / HTTP/1.0\r\n\r\n")
	_ = modest.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := modest.Read(make([]byte, 100)); n == 0 {
		t.Errorf("the connection of a client with one was closed: %v", err)
	}
	for i := range greedy {
		keep(net.IPv4(127, 0, 1, byte(i+1)).String())
	}
	probe("many clients have one each")
}
