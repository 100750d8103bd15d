package signpost

import (
	"errors"
	"reflect"
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/autopath"
	"github.com/miekg/dns"
)

// checkBeside looks at the other plugins of the server block for what a Corefile of the
// plugin kubernetes leaves behind. It is called when all of them have started.
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

// findsNothing reports whether a plugin autopath has no search list, because it names
// a plugin that is not in its server block. It does not say so itself.
func findsNothing(a *autopath.AutoPath) bool {
	v := reflect.ValueOf(a).Elem()
	ask, list := v.FieldByName("searchFunc"), v.FieldByName("search")
	return ask.Kind() == reflect.Func && ask.IsNil() && list.Kind() == reflect.Slice && list.Len() == 0
}

// zonesOf are the zones of another plugin, which may be nil.
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

// handOn are the plugins between cache and this one that hand queries for our zones on as
// they are, or answer them from memory. Others ask a service, or sign each answer.
var handOn = []string{"header", "minimal", "template", "transfer", "dynupdate", "hosts"}

// CacheBypassZones implements cache.ZoneBypasser. Names of the cluster need no cache, and
// without it a change is seen at once. That must not cost an upstream one query more: zones with
// fallthrough stay in the cache, and all do unless the target of an ExternalName does.
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
