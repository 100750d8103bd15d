// Package peer starts CoreDNS's own plugin kubernetes and ours side by side in
// the process of a test, each in a server of its own and fed by the same API, so
// that answers and costs can be compared. It must not judge: its tests do.
package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"

	_ "github.com/signpost-dns/signpost/plugin/signpost"
)

// Side is one running server.
type Side struct {
	Plugin  string
	UDP     string // address of each transport, on loopback
	TCP     string
	Handler plugin.Handler    // the plugin itself, without the server around it
	Server  *dnsserver.Server // the whole server, to be asked without a network
}

// capture is a plugin that takes no part in answers, but keeps the handler behind
// it, and the server of the first query.
const capture = "capture"

type captured struct {
	next   plugin.Handler
	server atomic.Pointer[dnsserver.Server]
}

// Name implements plugin.Handler.
func (c *captured) Name() string { return capture }

// ServeDNS implements plugin.Handler.
func (c *captured) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if c.server.Load() == nil {
		if s, ok := ctx.Value(dnsserver.Key{}).(*dnsserver.Server); ok {
			c.server.Store(s)
		}
	}
	return c.next.ServeDNS(ctx, w, r)
}

var (
	register sync.Once
	newest   *captured
)

func registerCapture() {
	plugin.Register(capture, func(c *caddy.Controller) error {
		dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
			newest = &captured{next: next}
			return newest
		})
		return nil
	})
	at := slices.Index(dnsserver.Directives, "kubernetes")
	dnsserver.Directives = slices.Insert(slices.Clone(dnsserver.Directives), at, capture, "signpost")
	caddy.Quiet, dnsserver.Quiet = true, true
	clog.Discard()
}

// Start starts a server as Serve does; it stops with the test.
func Start(t testing.TB, name, apiURL, options, rest string) Side {
	t.Helper()
	side, stop, err := Serve(name, apiURL, options, rest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stopping %s: %v", name, err)
		}
	})
	return side
}

// Serve starts a server of the zones cluster.local, in-addr.arpa and ip6.arpa.
// Name is signpost or kubernetes; options go into its stanza, rest behind it into
// the server block. Not for parallel tests: both plugins register themselves for
// the whole process.
func Serve(name, apiURL, options, rest string) (Side, func() error, error) {
	register.Do(registerCapture)
	corefile := fmt.Sprintf(`.:0 {
	bind 127.0.0.1
	%s
	%s cluster.local in-addr.arpa ip6.arpa {
		endpoint %s
		%s
	}
	%s
}`, capture, name, apiURL, options, rest)
	i, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"})
	if err != nil {
		return Side{}, nil, fmt.Errorf("starting %s with\n%s\n%w", name, corefile, err)
	}
	stop := func() error {
		i.ShutdownCallbacks()
		return i.Stop()
	}
	listener := i.Servers()[0]
	side := Side{Plugin: name, UDP: listener.LocalAddr().String(), TCP: listener.Addr().String(), Handler: newest.next}
	ping := new(dns.Msg)
	ping.SetQuestion("cluster.local.", dns.TypeSOA)
	for ; err == nil && side.Server == nil; side.Server = newest.server.Load() {
		_, err = dns.Exchange(ping, side.UDP)
	}
	if err != nil {
		return Side{}, nil, errors.Join(fmt.Errorf("asking %s: %w", name, err), stop())
	}
	return side, stop, nil
}
