package signpost

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// outsideOptions are about names for clients outside the cluster: what the plugin
// k8s_external answers, which finds no other plugin than kubernetes.
var outsideOptions = []option{
	{"external", "ZONES...", 1, many, setExternal, checkExternal},
	{"apex", "LABEL", 1, 1, setExternalApex, needsExternal},
	{"headless", "no argument", 0, 0, setExternalHeadless, needsExternal},
	{"external_ttl", "SECONDS", 1, 1, setExternalTTL, needsExternal},
}

func setExternal(s *stanza, args []string) error {
	for _, zone := range args {
		if _, ok := dns.IsDomainName(zone); !ok && !strings.Contains(zone, "/") {
			return fmt.Errorf("want zones, such as example.org; not %q", zone)
		}
	}
	s.outside.zones = plugin.OriginsFromArgsOrServerBlock(args, nil)
	return nil
}

// checkExternal looks for zones that say two things, and for where PTR records point.
func checkExternal(s *stanza) error {
	if outsideHome(s.outside.zones) == "" {
		return errors.New("want at least one zone that is not a reverse zone, such as example.org")
	}
	for _, outside := range s.outside.zones {
		for _, zone := range s.zones {
			if zone == outside && !isReverse(zone) {
				return fmt.Errorf("%s is the cluster's own zone; want another one for clients outside", zone)
			}
		}
	}
	return nil
}

func setExternalApex(s *stanza, args []string) error {
	label := strings.ToLower(args[0])
	if n, ok := dns.IsDomainName(label); !ok || n != 1 || strings.ContainsAny(label, `.\`) {
		return errors.New("want one label, such as dns")
	}
	s.outside.apex = label
	return nil
}

func setExternalHeadless(s *stanza, _ []string) error {
	s.outside.headless = true
	return nil
}

func setExternalTTL(s *stanza, args []string) error {
	t, err := seconds(args[0])
	s.outside.ttl, s.outside.ttlSet = t, true
	return err
}

func needsExternal(s *stanza) error {
	if len(s.outside.zones) == 0 {
		return errors.New("it is about names for clients outside the cluster; want it beside external ZONES")
	}
	return nil
}
