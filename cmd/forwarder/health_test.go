package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// pages are what the three pages for probes answer.
func (p *process) pages() (codes string) {
	for _, page := range []string{"healthz", "livez", "readyz"} {
		code, _ := p.get("http://127.0.0.1:10256/" + page)
		codes += fmt.Sprint(page, "=", code, " ")
	}
	return codes
}

func (p *process) answers(what, want string) {
	p.t.Helper()
	p.until(what, func() (bool, string) {
		got := p.pages()
		return got == want, got
	})
}

// A node without rules is not healthy, whatever the reason. Rules from before the start count for
// load balancers, and not for a rollout.
func TestHealthFollowsTheKernel(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	const (
		empty   = "healthz=503 livez=200 readyz=503 "
		adopted = "healthz=200 livez=200 readyz=503 "
		well    = "healthz=200 livez=200 readyz=200 "
	)
	server := api.New(t)
	server.Put(apiNode(n.Name), apiService("web", "10.96.0.20", nil), apiSlice("web", "10.244.1.2", nil))
	relay := relayTo(t, n.Host, server)
	args := []string{"--master=http://" + relay, "--conntrack-max-per-core=0", "--hostname-override=" + n.Name}

	server.RefuseKind("endpointslices", http.StatusForbidden)
	p := start(t, n.Host, false, args...)
	p.answers("endpointslices are forbidden", empty)
	server.RefuseKind("endpointslices", 0)
	p.answers("they are allowed", well)
	p.describesItself()
	p.routes("10.244.1.2")
	p.Kill()

	server.RefuseKind("endpointslices", http.StatusForbidden)
	p = start(t, n.Host, false, args...)
	p.answers("they are forbidden again, and the rules are there", adopted)
	p.Kill()
	p = start(t, n.Host, false, "--master=http://127.0.0.1:1", "--conntrack-max-per-core=0", "--proxy-mode=nftables")
	p.answers("there is no API, and the rules are there", adopted)
	p.Kill()
	nft(t, n.Host, "", "flush", "ruleset")
	p = start(t, n.Host, false, "--master=http://127.0.0.1:1", "--conntrack-max-per-core=0")
	p.answers("there is no API, and no rule", empty)
}

// relayTo serves an API on the loopback address of a host, and returns where.
func relayTo(t *testing.T, h *netlab.Host, handler http.Handler) string {
	t.Helper()
	l, err := h.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		_ = s.Close()
		<-ended
	})
	return l.Addr().String()
}
