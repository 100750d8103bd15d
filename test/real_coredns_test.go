package test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/apiserver/child"
)

// convergeTimeout bounds how long a running coredns may take to answer for a change. It takes milliseconds,
// or, when the API server comes back, until the next try (client-go waits up to 30 seconds between two): the
// bound is there so that a test that fails ends.
const convergeTimeout = 90 * time.Second

// buildCoreDNS compiles cmd/coredns as a user would and returns the binary.
func buildCoreDNS(t *testing.T) string {
	t.Helper()
	return buildProgram(t, "coredns")
}

// buildProgram compiles a program of the folder cmd.
func buildProgram(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/"+name)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return binary
}

// A corefile is one server block for a test: a plugin (signpost or kubernetes) with the options that say
// where the API is.
type corefile struct {
	plugin  string
	options string // lines of the stanza
}

// text fills in the addresses. docs.example.org and everything else below example.org exists, so that
// ExternalNames lead somewhere.
func (c corefile) text(dns, ready, metrics netip.AddrPort) string {
	return fmt.Sprintf(`.:%d {
    bind %s
    errors
    ready %s
    prometheus %s
    template IN A example.org {
        answer "{{ .Name }} 60 IN A 192.0.2.80"
    }
    %s cluster.local in-addr.arpa ip6.arpa {
        %s
        pods insecure
        ttl 30
    }
}
`, dns.Port(), dns.Addr(), ready, metrics, c.plugin, strings.ReplaceAll(c.options, "\n", "\n        "))
}

// A coredns is a running process.
type coredns struct {
	*child.Process
	name           string // for messages
	plugin         string
	dns            netip.AddrPort
	ready, metrics string // URLs
}

// startCoreDNS runs a process until the test ends. It does not wait for anything: tests poll.
func startCoreDNS(t *testing.T, binary, name string, c corefile) *coredns {
	t.Helper()
	var addrs [3]netip.AddrPort
	for i := range addrs {
		addr, err := child.Loopback()
		if err != nil {
			t.Fatal(err)
		}
		addrs[i] = addr
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(conf, []byte(c.text(addrs[0], addrs[1], addrs[2])), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := child.Start(binary, filepath.Join(dir, "coredns.log"), "-conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s, the end of its log:\n%s", name, p.Tail())
		}
	})
	return &coredns{
		Process: p, name: name, plugin: c.plugin, dns: addrs[0],
		ready:   fmt.Sprintf("http://%s/ready", addrs[1]),
		metrics: fmt.Sprintf("http://%s/metrics", addrs[2]),
	}
}

// A question is a name and a type with the one right answer. The answer is written as its response code and
// the records of the answer section, sorted, without what does not matter here: owner names, TTLs, and
// the priority and weight of SRV records.
//
//	NOERROR; A 10.96.7.1
//	NOERROR; CNAME docs.example.org.; A 192.0.2.80
//	NXDOMAIN
type question struct {
	name  string // below cluster.local., unless it ends in a dot
	qtype uint16
	want  string
}

func (q question) fqdn() string {
	if strings.HasSuffix(q.name, ".") {
		return q.name
	}
	return q.name + ".cluster.local."
}

// ask sends one query over "udp" or "tcp" and returns the answer in the form of question.want.
func (c *coredns) ask(network string, q question) string {
	query := new(dns.Msg).SetQuestion(q.fqdn(), q.qtype)
	query.SetEdns0(1232, false)
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(query, c.dns.String())
	if err != nil {
		return err.Error()
	}
	var records []string
	for _, rr := range reply.Answer {
		kind, data := dns.TypeToString[rr.Header().Rrtype], strings.TrimPrefix(rr.String(), rr.Header().String())
		if srv, ok := rr.(*dns.SRV); ok {
			data = fmt.Sprintf("%d %s", srv.Port, srv.Target)
		}
		records = append(records, kind+" "+data)
	}
	slices.Sort(records)
	slices.Reverse(records) // SRV and CNAME before A: how one reads them
	code := dns.RcodeToString[reply.Rcode]
	if !reply.Authoritative && reply.Rcode != dns.RcodeServerFailure {
		code += " without authority"
	}
	if reply.Truncated {
		code += " truncated"
	}
	return strings.Join(append([]string{code}, slices.Compact(records)...), "; ")
}

// wrong asks every server every question over UDP and TCP and returns what was not answered right.
func wrong(servers []*coredns, questions []question) []string {
	var all []string
	for _, s := range servers {
		for _, q := range questions {
			for _, network := range []string{"udp", "tcp"} {
				if got := s.ask(network, q); got != q.want {
					all = append(all, fmt.Sprintf("%s: %s %s over %s\n\tgot  %s\n\twant %s", s.name, q.fqdn(), dns.TypeToString[q.qtype], network, got, q.want))
				}
			}
		}
	}
	return all
}

// converge waits until every server answers every question right.
func converge(t *testing.T, servers []*coredns, questions []question) {
	t.Helper()
	poll(t, servers, func() []string { return wrong(servers, questions) })
}

// poll repeats a check until it finds nothing wrong. It gives up after convergeTimeout or when a server ends.
func poll(t *testing.T, servers []*coredns, check func() []string) {
	t.Helper()
	deadline := time.Now().Add(convergeTimeout)
	for {
		found := check()
		if len(found) == 0 {
			return
		}
		for _, s := range servers {
			select {
			case <-s.Exited():
				t.Fatalf("%s ended: %v\n%s", s.name, s.Err(), s.Tail())
			default:
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s:\n%s", convergeTimeout, strings.Join(found, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// steady wants every answer right at once, several times over.
func steady(t *testing.T, servers []*coredns, questions []question) {
	t.Helper()
	for range 5 {
		if found := wrong(servers, questions); len(found) > 0 {
			t.Fatalf("not steady:\n%s", strings.Join(found, "\n"))
		}
	}
}

// readiness waits until /ready of every server answers with an HTTP status.
func readiness(t *testing.T, servers []*coredns, status int) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	poll(t, servers, func() []string {
		var found []string
		for _, s := range servers {
			res, err := client.Get(s.ready)
			if err == nil {
				res.Body.Close()
			}
			if err != nil || res.StatusCode != status {
				found = append(found, fmt.Sprintf("%s: GET %s: want %d, got %v (%v)", s.name, s.ready, status, res, err))
			}
		}
		return found
	})
}

// metric waits until the sum of a metric over its labels is right, on the servers of our plugin.
func metric(t *testing.T, servers []*coredns, name string, right func(sum float64) bool) {
	t.Helper()
	poll(t, servers, func() (found []string) {
		for _, s := range servers {
			if s.plugin != "signpost" {
				continue
			}
			if sum, err := s.metric(name); err != nil || !right(sum) {
				found = append(found, fmt.Sprintf("%s: %s is %v (%v)", s.name, name, sum, err))
			}
		}
		return found
	})
}

// metric reads a metric and adds up its values over all labels.
func (c *coredns) metric(name string) (sum float64, err error) {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get(c.metrics)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	err = fmt.Errorf("no such metric")
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		var value float64
		if value, err = strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64); err != nil {
			return 0, err
		}
		sum += value
	}
	return sum, err
}
