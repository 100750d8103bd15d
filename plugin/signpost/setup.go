package signpost

import (
	"net"
	"net/netip"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/prometheus/client_golang/prometheus"
)

const pluginName = "signpost"

var log = clog.NewWithPlugin(pluginName)

func init() {
	plugin.Register(pluginName, setup)
	prometheus.MustRegister(newCollector(), newSnapshotCollector())
}

// setup reads the stanza and ties the plugin to the server's life.
func setup(c *caddy.Controller) error {
	stanza, err := parse(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	lease, err := stanza.feed.open()
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	lease.snapshot = stanza.snapshot
	zones, primary := makeZones(stanza.zones)
	markClusterset(zones, stanza.clusterset)
	s := &Signpost{
		settings: stanza.settings,
		zones:    addOutside(zones, &stanza.outside), primary: primary,
		upstream: upstream.New(), search: searchList("/etc/resolv.conf"),
	}
	block := dnsserver.GetConfig(c)
	s.block = block
	c.OnStartup(func() error { // every plugin of the block stands now
		if err := s.checkBeside(block); err != nil {
			return plugin.Error(pluginName, err)
		}
		lease.config.podLabels = lease.config.pods && block.Handler("metadata") != nil
		if s.store, err = lease.start(); err != nil {
			return plugin.Error(pluginName, err)
		}
		s.heard = lease.feed.heard
		s.maxUDP = udpLimit(stanza.maxUDP, block.Handler("bufsize"))
		s.local = localAddresses(block.ListenHosts)
		s.started.Store(true)
		if t, ok := block.Handler("transfer").(*transfer.Transfer); ok {
			go s.notify(t.Notify, lease.over)
		}
		if s.tight() {
			go s.tellLong(reportName, lease.over)
		}
		lease.wait(stanza.startupTimeout)
		return nil
	})
	lease.follow(c)
	block.AddPlugin(func(next plugin.Handler) plugin.Handler {
		s.next = next
		return s
	})
	return nil
}

// localAddresses returns where this server is reached: the addresses that it is
// bound to, or those of all interfaces. Loopback and link-local ones are of no
// use to anybody else.
func localAddresses(bound []string) []netip.Addr {
	var texts []string
	for _, host := range bound {
		if host != "" {
			texts = append(texts, host)
		}
	}
	if len(texts) == 0 {
		all, err := net.InterfaceAddrs()
		if err != nil {
			log.Warningf("reading this machine's addresses: %v; NS records will have no glue", err)
		}
		for _, a := range all {
			texts = append(texts, a.String())
		}
	}
	var addrs []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if p, perr := netip.ParsePrefix(text); perr == nil {
			a, err = p.Addr(), nil
		}
		if a = a.Unmap(); err == nil && a.IsGlobalUnicast() {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
