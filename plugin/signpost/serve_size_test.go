package signpost

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// headlessManifest is a headless Service with endpoints that have two ports.
func headlessManifest(name string, endpoints int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: ns}\nspec: {clusterIP: None}\n", name)
	for done := 0; done < endpoints; done += 1000 {
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"+
			"metadata: {name: %[1]s-%[2]d, namespace: ns, labels: {kubernetes.io/service-name: %[1]s}}\naddressType: IPv4\n"+
			"ports: [{name: p1, port: 8081}, {name: p2, port: 8082}, {name: p3, port: 8083}, {name: p4, port: 8084}, {name: p5, port: 8085}]\nendpoints:\n", name, done)
		for i := done; i < min(endpoints, done+1000); i++ {
			fmt.Fprintf(&b, "- {addresses: [10.%d.%d.%d], conditions: {ready: true}}\n", 1+i/62500, i/250%250, 1+i%250)
		}
	}
	return b.String()
}

// exchangeSized asks over UDP and returns the bytes of the answer and what they say.
func exchangeSized(t *testing.T, addr, qname string, qtype uint16, size int) (int, *dns.Msg) {
	t.Helper()
	r := new(dns.Msg)
	r.SetQuestion(qname, qtype)
	if size > 0 {
		r.SetEdns0(uint16(size), false)
	}
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, dns.MaxMsgSize)
	n, err := c.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(in[:n]); err != nil {
		t.Fatal(err)
	}
	return n, m
}

// An answer over UDP has at most the bytes that the configuration says, whatever the
// client takes and whatever the server does about compression. What is cut is
// marked; a complete answer stands over TCP.
func TestUDPSize(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []int{20, 24, 26, 28, 30, 32, 40, 70, 80, 300, 1000} {
		writeFile(t, filepath.Join(dir, fmt.Sprintf("h%d.yaml", n)), headlessManifest(fmt.Sprintf("h%d", n), n))
	}
	sizes := []int{0, 512, 1231, 1232, 1233, 1400, 1480, 4096, 65535}
	for _, tt := range []struct {
		name, before, option, after string
		most                        int
	}{
		{"default", "", "", "", 1232},
		{"default in kubeadm's block", "", "", "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n}\n loadbalance", 1232},
		{"bufsize with cache", "bufsize", "", "cache", 1232},
		{"bufsize", "bufsize 4096", "", "", 4096},
		{"small bufsize", "bufsize 600", "", "", 600},
		{"option", "", "max_udp_size 2000", "", 2000},
		{"option and bufsize", "bufsize 700", "max_udp_size 4096", "loadbalance", 700},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := start(t, fmt.Sprintf("cluster.local:0 {\n bind 127.0.0.1\n %s\n signpost {\n manifests %s\n %s\n}\n %s\n}", tt.before, dir, tt.option, tt.after))
			defer stop(t, i)
			addr := i.Servers()[0].LocalAddr().String()
			for _, size := range sizes {
				most := min(max(512, size), tt.most)
				for _, n := range []int{20, 24, 26, 28, 30, 32, 40, 70, 80, 300, 1000} {
					for qname, qtype := range map[string]uint16{"h%d.ns.svc.cluster.local.": dns.TypeA, "_p1._tcp.h%d.ns.svc.cluster.local.": dns.TypeSRV} {
						qname = fmt.Sprintf(qname, n)
						got, m := exchangeSized(t, addr, qname, qtype, size)
						if got > most {
							t.Errorf("%s, client takes %d: %d bytes, want at most %d", qname, size, got, most)
						}
						if len(m.Answer) == 0 || m.Truncated != (len(m.Answer) < n || qtype == dns.TypeSRV && countA(m) < n) {
							t.Errorf("%s, client takes %d: %d of %d records, %d addresses, tc %v", qname, size, len(m.Answer), n, countA(m), m.Truncated)
						}
						if n == 1000 && got < most*7/10 {
							t.Errorf("%s, client takes %d: only %d of %d bytes used", qname, size, got, most)
						}
					}
				}
			}
			if m := lookup(t, i, "tcp", "h300.ns.svc.cluster.local."); m.Truncated || len(m.Answer) != 300 {
				t.Errorf("over TCP: %d records, tc %v", len(m.Answer), m.Truncated)
			}
		})
	}
}

func countA(m *dns.Msg) int {
	n := 0
	for _, rr := range m.Extra {
		if rr.Header().Rrtype == dns.TypeA {
			n++
		}
	}
	return n
}

// A client may say anything in its OPT record: what comes back is no longer for it.
func TestUDPSizeCountsOptions(t *testing.T) {
	s := plugged(crowd(5000), nil)
	r := new(dns.Msg)
	r.SetQuestion("crowd.ns.svc.cluster.local.", dns.TypeA)
	r.SetEdns0(4096, false)
	r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: strings.Repeat("ab", 40)}}
	w := &client{udp: true}
	if _, err := s.ServeDNS(t.Context(), w, r); err != nil {
		t.Fatal(err)
	}
	w.got.Extra = append(w.got.Extra, r.IsEdns0())
	if n := w.got.Len(); n > defaultMaxUDP {
		t.Errorf("%d bytes with the OPT record, want at most %d", n, defaultMaxUDP)
	}
}
