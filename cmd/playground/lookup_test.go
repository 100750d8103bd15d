//go:build linux

package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// serve starts a DNS server that knows some names, by UDP and TCP on one port, and returns a configuration that asks it.
func serve(t *testing.T, handle dns.HandlerFunc) *dns.ClientConfig {
	t.Helper()
	stream, packets := onePort(t)
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: handle}, {Listener: stream, Handler: handle}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	port := packets.LocalAddr().(*net.UDPAddr).Port
	return &dns.ClientConfig{
		Servers: []string{"127.0.0.1"}, Port: strconv.Itoa(port), Search: []string{"ns.svc.c.", "svc.c.", "c."}, Ndots: 5, Timeout: 5, Attempts: 2,
	}
}

// onePort opens sockets of both protocols with the same number.
func onePort(t *testing.T) (stream net.Listener, packets net.PacketConn) {
	t.Helper()
	for range 100 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if packets, err := net.ListenPacket("udp", stream.Addr().String()); err == nil {
			return stream, packets
		}
		stream.Close() // something else has the number
	}
	t.Fatal("no port is free in both protocols")
	return nil, nil
}

func TestResolve(t *testing.T) {
	zone := map[string]string{
		"web.ns.svc.c.":   "A 10.0.0.1",
		"web.svc.c.":      "A 10.0.0.2",
		"other.x.svc.c.":  "A 10.0.0.3",
		"empty.ns.svc.c.": "AAAA ::1",
		"example.org.":    "A 10.0.0.4",
		"big.ns.svc.c.":   "A 10.0.0.5", // by TCP only
		"broken.c.":       "SERVFAIL",
	}
	var mu sync.Mutex
	var asked []string
	config := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		asked = append(asked, q.Question[0].Name)
		mu.Unlock()
		m := new(dns.Msg).SetReply(q)
		record, ok := zone[q.Question[0].Name]
		switch {
		case !ok:
			m.Rcode = dns.RcodeNameError
		case record == "SERVFAIL":
			m.Rcode = dns.RcodeServerFailure
		case q.Question[0].Name == "big.ns.svc.c." && w.RemoteAddr().Network() == "udp":
			m.Truncated = true
		case strings.HasPrefix(record, dns.TypeToString[q.Question[0].Qtype]+" "):
			for _, last := range []string{"", "9"} { // two answers, not in order
				rr, err := dns.NewRR(q.Question[0].Name + " 5 IN " + record + last)
				if err != nil {
					t.Error(err)
				}
				m.Answer = append([]dns.RR{rr}, m.Answer...)
			}
		}
		w.WriteMsg(m)
	})
	for _, tt := range []struct{ name, want, asked string }{
		{"web", "[10.0.0.1 10.0.0.19] web.ns.svc.c. ", "web.ns.svc.c."},
		{"other.x", "[10.0.0.3 10.0.0.39] other.x.svc.c. ", "other.x.ns.svc.c. other.x.svc.c."},
		{"web.ns.svc.c.", "[10.0.0.1 10.0.0.19] web.ns.svc.c. ", "web.ns.svc.c."},
		{"example.org", "[10.0.0.4 10.0.0.49] example.org. ", "example.org.ns.svc.c. example.org.svc.c. example.org.c. example.org."},
		{"nobody", "[] nobody. NXDOMAIN", "nobody.ns.svc.c. nobody.svc.c. nobody.c. nobody."},
		{"empty", "[] empty.ns.svc.c. NODATA", "empty.ns.svc.c. empty.svc.c. empty.c. empty."},
		{"big", "[10.0.0.5 10.0.0.59] big.ns.svc.c. ", "big.ns.svc.c. big.ns.svc.c."},
		{"broken", "[] broken.c. SERVFAIL", "broken.ns.svc.c. broken.svc.c. broken.c. broken."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked = nil
			f, err := resolve(t.Context(), config, tt.name, dns.TypeA)
			if err != nil {
				t.Fatal(err)
			}
			reason := f.reason
			if len(f.values) > 0 {
				reason = ""
			}
			mu.Lock()
			defer mu.Unlock()
			if got := fmt.Sprintf("%v %s %s", f.values, f.name, reason); got != tt.want || strings.Join(asked, " ") != tt.asked {
				t.Errorf("got %s by asking %v, want %s by asking %s", got, asked, tt.want, tt.asked)
			}
		})
	}
}

// TestResolveNobodyThere: no server answers, and the error says who was asked for what.
func TestResolveNobodyThere(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	config := &dns.ClientConfig{Servers: []string{"127.0.0.1"}, Port: strconv.Itoa(closed.LocalAddr().(*net.UDPAddr).Port), Attempts: 2, Timeout: 1}
	_, err = resolve(t.Context(), config, "web", dns.TypeSRV)
	if err == nil || !strings.Contains(err.Error(), "ask for web. SRV: no answer from 127.0.0.1") {
		t.Errorf("got error %v", err)
	}
}
