package signpost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/timeouts"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// greedy opens a connection from a loopback address, sends a query many times and
// reads nothing.
func greedy(t *testing.T, from, addr, qname string, qtype uint16, queries int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	r := new(dns.Msg)
	r.SetQuestion(qname, qtype)
	b, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for range queries {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...)
	}
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	return c
}

// isReset reports whether the server ended a connection from which nothing is read.
func isReset(t *testing.T, c net.Conn) bool {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return info.State == unix.BPF_TCP_CLOSE
}

// isDenied reads and reports whether one of so many answers is missing, since the server
// ended the connection, or is SERVFAIL.
func isDenied(t *testing.T, c net.Conn, answers int) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	stream := dns.Conn{Conn: c}
	for range answers {
		m, err := stream.ReadMsg()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatalf("%v: %v", c.LocalAddr(), err)
		case err != nil, m.Rcode == dns.RcodeServerFailure:
			return true
		}
	}
	return false
}

// Clients that ask for large answers and do not read them lose their connections and
// hold a bounded number of answers; a client that reads has its answer meanwhile.
func TestGreedyStreams(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "big.yaml"), headlessManifest("big", 5000))
	writeFile(t, filepath.Join(dir, "h300.yaml"), headlessManifest("h300", 300))
	writeFile(t, filepath.Join(dir, "alias.yaml"), `{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: ns}, `+
		`spec: {type: ExternalName, externalName: big.ns.svc.cluster.local}}`)
	i := start(t, fmt.Sprintf(".:0 {\n bind 127.0.0.1\n errors\n timeouts {\n write 1s\n}\n loadbalance\n signpost cluster.local {\n manifests %s\n}\n}", dir))
	defer stop(t, i)
	addr := i.Servers()[0].Addr().String()
	before := counted(t, "coredns_signpost_slow_clients_total")
	const clients, queries = 120, 30
	var direct, aliases []net.Conn
	for n := range clients {
		// Many addresses with a connection each, and one address with many.
		from := fmt.Sprintf("127.0.1.%d", n+1)
		if n%3 == 0 {
			from = "127.0.0.2"
		}
		if n%4 == 0 {
			aliases = append(aliases, greedy(t, from, addr, "alias.ns.svc.cluster.local.", dns.TypeSRV, queries))
		} else {
			direct = append(direct, greedy(t, from, addr, "_p1._tcp.big.ns.svc.cluster.local.", dns.TypeSRV, queries))
		}
	}
	most := 0
	for range 3 {
		most = max(most, large.held())
		r := new(dns.Msg)
		r.SetQuestion("h300.ns.svc.cluster.local.", dns.TypeA)
		m, _, err := (&dns.Client{Net: "tcp", Timeout: 10 * time.Second}).Exchange(r, addr)
		if err != nil || len(m.Answer) != 300 || m.Truncated {
			t.Fatalf("a client that reads: %v, %d records", err, len(m.Answer))
		}
	}
	if most == 0 || most > largePlaces {
		t.Errorf("%d large answers in flight, want some and at most %d", most, largePlaces)
	}
	for _, c := range direct {
		eventually(t, "a client that does not read is cut off", func() bool { return isReset(t, c) })
	}
	if n := counted(t, "coredns_signpost_slow_clients_total") - before; n < float64(len(direct)) {
		t.Errorf("%v slow clients are counted, want at least %d", n, len(direct))
	}
	// An answer with a CNAME does not wait for a place. A client has all its answers only if some were refused.
	for _, c := range aliases {
		if !isDenied(t, c, queries) {
			t.Errorf("%v has all answers", c.LocalAddr())
		}
	}
	eventually(t, "no answer is in flight", func() bool { return large.held() == 0 })
	if n := len(large.turns); n != 0 {
		t.Errorf("%d clients wait", n)
	}
}

// A client that reads slowly, but within the timeout, has its answer, and its connection
// lives on for the next.
func TestStreamLivesOn(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "big.yaml"), headlessManifest("big", 5000))
	i := start(t, fmt.Sprintf(".:0 {\n bind 127.0.0.1\n timeouts {\n write 1s\n}\n signpost cluster.local {\n manifests %s\n}\n}", dir))
	defer stop(t, i)
	c, err := dns.DialTimeout("tcp", i.Servers()[0].Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n, pause := range []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond} {
		time.Sleep(pause) // an old deadline must not end a later write
		r := new(dns.Msg)
		r.SetQuestion("_p1._tcp.big.ns.svc.cluster.local.", dns.TypeSRV)
		if err := c.WriteMsg(r); err != nil {
			t.Fatal(err)
		}
		time.Sleep(min(pause, 500*time.Millisecond))
		if m, err := c.ReadMsg(); err != nil || len(m.Answer) < 500 {
			t.Fatalf("answer %d: %v", n, err)
		}
	}
}

// counted reads a metric without labels.
func counted(t *testing.T, name string) float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
