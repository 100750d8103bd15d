package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// query is one question and how it is asked.
type query struct {
	name, qtype string
	size        uint16 // of an answer that the client takes (EDNS); 0: it does not say
	tcp         bool
}

func (q query) String() string {
	network := "UDP"
	if q.tcp {
		network = "TCP"
	}
	return fmt.Sprintf("%s %s (%s, EDNS %d)", q.name, q.qtype, network, q.size)
}

func (q query) message() *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.name, dns.StringToType[q.qtype])
	if q.size > 0 {
		m.SetEdns0(q.size, false)
	}
	return m
}

// reply is a message without what may differ freely: order, serial, weights and
// the case of names that are not the owner's.
type reply struct {
	rcode         string
	answer, extra []string
	soa           bool // in the authority section, as negative answers have it
	aa, tc        bool
	size          int // in bytes on the wire
}

func (r reply) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s soa=%v aa=%v tc=%v\n", r.rcode, r.soa, r.aa, r.tc)
	const most = 12 // of a section, for people
	for i, section := range [][]string{r.answer, r.extra} {
		for j, rr := range section {
			if j == most {
				fmt.Fprintf(&b, "  … %d records\n", len(section))
				break
			}
			fmt.Fprintf(&b, "  %s%s\n", []string{"", "+ "}[i], rr)
		}
	}
	return b.String()
}

func (r reply) noData() bool   { return r.rcode == "NOERROR" && len(r.answer) == 0 && r.soa }
func (r reply) nxDomain() bool { return r.rcode == "NXDOMAIN" && len(r.answer) == 0 && r.soa }

func (r reply) equal(other reply) bool {
	return r.rcode == other.rcode && r.soa == other.soa && r.aa == other.aa && r.tc == other.tc &&
		slices.Equal(r.answer, other.answer) && slices.Equal(r.extra, other.extra)
}

// client is a response writer that takes what a socket would: bytes.
type client struct {
	test.ResponseWriter
	tcp  bool
	wire []byte
	err  error
}

var (
	udpClient net.Addr = &net.UDPAddr{IP: net.IPv4(172, 16, 3, 1), Port: 40212}
	tcpClient net.Addr = &net.TCPAddr{IP: net.IPv4(172, 16, 3, 1), Port: 40212}
)

// RemoteAddr implements dns.ResponseWriter.
func (c *client) RemoteAddr() net.Addr {
	if c.tcp {
		return tcpClient
	}
	return udpClient
}

// WriteMsg implements dns.ResponseWriter.
func (c *client) WriteMsg(m *dns.Msg) error {
	if c.wire != nil {
		c.err = errors.New("a second answer")
		return c.err
	}
	c.wire, c.err = m.Pack()
	return c.err
}

// ask asks the whole server, without a network in between.
func ask(t testing.TB, s Side, q query) reply {
	t.Helper()
	c := &client{tcp: q.tcp}
	ctx := context.WithValue(context.Background(), dnsserver.Key{}, s.Server)
	s.Server.ServeDNS(context.WithValue(ctx, dnsserver.LoopKey{}, 0), c, q.message())
	if c.err != nil {
		return reply{rcode: "no answer: " + c.err.Error()}
	}
	m := new(dns.Msg)
	if err := m.Unpack(c.wire); err != nil {
		t.Fatalf("%s says to %s what nobody can read: %v", s.Plugin, q, err)
	}
	return short(m, len(c.wire))
}

// exchange asks over the network.
func exchange(t testing.TB, s Side, q query) reply {
	t.Helper()
	c := &dns.Client{Timeout: 10 * time.Second, UDPSize: dns.MaxMsgSize}
	addr := s.UDP
	if q.tcp {
		c.Net, addr = "tcp", s.TCP
	}
	m, _, err := c.Exchange(q.message(), addr)
	if err != nil {
		t.Fatalf("asking %s for %s: %v", s.Plugin, q, err)
	}
	m.Compress = true // as it came: else Len counts every name in full
	return short(m, m.Len())
}

func short(m *dns.Msg, size int) reply {
	r := reply{rcode: dns.RcodeToString[m.Rcode], aa: m.Authoritative, tc: m.Truncated, size: size}
	for _, rr := range m.Ns {
		r.soa = r.soa || rr.Header().Rrtype == dns.TypeSOA
	}
	r.answer, r.extra = texts(m.Answer), texts(m.Extra)
	for i := range r.extra {
		r.extra[i] = strings.ToLower(r.extra[i])
	}
	return r
}

// texts writes records with their owner as it came and all else in lower case.
func texts(rrs []dns.RR) []string {
	var list []string
	for _, rr := range rrs {
		switch rr := rr.(type) {
		case *dns.OPT:
			continue
		case *dns.SRV:
			rr.Weight = 0
		case *dns.SOA:
			rr.Serial = 0
		}
		owner, rest, _ := strings.Cut(rr.String(), "\t")
		list = append(list, owner+" "+strings.ToLower(strings.ReplaceAll(rest, "\t", " ")))
	}
	slices.Sort(list)
	return list
}
