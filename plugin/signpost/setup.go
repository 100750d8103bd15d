package signpost

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/autopath"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const pluginName = "signpost"

var log = clog.NewWithPlugin(pluginName)

func init() {
	plugin.Register(pluginName, setup)
	prometheus.MustRegister(collector{})
}

// setup reads the stanza and registers the plugin with the server's life cycle.
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
	c.OnStartup(func() error { // every plugin of the block exists now
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
			go s.watchLong(reportName, lease.over)
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

// localAddresses returns the addresses at which clients reach this server: those that it is
// bound to, or those of all interfaces. Loopback and link-local addresses do not count.
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

// checkBeside checks the other plugins of the server block for leftovers of a Corefile for
// the plugin kubernetes. The caller waits until all of them have started.
func (s *Signpost) checkBeside(block *dnsserver.Config) error {
	if a, ok := block.Handler("autopath").(*autopath.AutoPath); ok && findsNothing(a) {
		return errors.New(`autopath @kubernetes beside this plugin finds no search lists: want "autopath @signpost"`)
	}
	for _, zone := range zonesOf(block.Handler("kubernetes")) {
		if i := indexZone(s.zones, zone); i >= 0 && !s.fallsThrough(zone) {
			log.Warningf("the plugin kubernetes serves %s in the same server block: it gets no query, and watches the API all the same; want its stanza removed", zone)
		}
	}
	return nil
}

// findsNothing reports whether the plugin autopath has no search list, because it names a
// plugin that is not in its server block. Autopath itself does not report that.
func findsNothing(a *autopath.AutoPath) bool {
	v := reflect.ValueOf(a).Elem()
	ask, list := v.FieldByName("searchFunc"), v.FieldByName("search")
	return ask.Kind() == reflect.Func && ask.IsNil() && list.Kind() == reflect.Slice && list.Len() == 0
}

// zonesOf returns the zones of another plugin, which may be nil.
func zonesOf(h plugin.Handler) []string {
	v := reflect.Indirect(reflect.ValueOf(h))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field := v.FieldByName("Zones")
	if !field.IsValid() || !field.CanInterface() {
		return nil
	}
	zones, _ := field.Interface().([]string)
	return zones
}

// fallsThrough reports whether names of a zone may reach the next plugin.
func (s *settings) fallsThrough(zone string) bool {
	return slices.ContainsFunc(s.fall.Zones, func(f string) bool { return dns.IsSubDomain(f, zone) || dns.IsSubDomain(zone, f) })
}

// handOn lists the plugins between cache and this one that pass queries for our zones on
// unchanged, or answer them from memory. All other plugins query a service or sign each
// answer.
var handOn = []string{"header", "minimal", "template", "transfer", "dynupdate", "hosts"}

// CacheBypassZones implements cache.ZoneBypasser. Names of the cluster need no cache, and
// without it clients see a change at once. An upstream must not get more queries for that:
// zones with fallthrough stay in the cache, and all zones do unless targets of ExternalName
// Services do.
func (s *Signpost) CacheBypassZones() []string {
	if s.block == nil || !slices.Contains(zonesOf(s.block.Handler("cache")), ".") {
		return nil
	}
	first, last := slices.Index(dnsserver.Directives, "cache"), slices.Index(dnsserver.Directives, pluginName)
	for i := first + 1; i < last; i++ {
		if name := dnsserver.Directives[i]; s.block.Handler(name) != nil && !slices.Contains(handOn, name) {
			return nil
		}
	}
	var zones []string
	for i := range s.zones {
		if z := &s.zones[i]; !z.reverse && !s.fallsThrough(z.name) {
			zones = append(zones, z.name)
		}
	}
	return zones
}
