package signpost

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/miekg/dns"
)

// stanza is what a Corefile says about the plugin.
type stanza struct {
	settings
	zones          []string
	startupTimeout time.Duration
	feed           feedConfig
	snapshot       snapshotConfig
}

// settings are the options that say what is answered. Handlers read them, and
// nobody changes them once the server serves.
type settings struct {
	ttl         uint32 // seconds
	pods        podMode
	fall        fall.F
	ignoreEmpty bool // a ClusterIP Service without ready endpoints has no names
	outside     outsideSettings
	clusterset  []string // zones of a set of clusters
	zonal       bool     // headless Services have names for the zones of their endpoints

	negative  *uint32 // seconds that a negative answer may be kept; nil: as ttl
	maxUDP    int     // bytes of an answer over UDP
	ptr       ptrPolicy
	ptrSingle bool // only the first name of an address

	why bool // names with _why before them explain the others

	staleUnready bool          // not ready with an index that was restored
	staleAfter   time.Duration // not ready with data older than that; 0: never
}

// option is one word of the stanza. Errors say what was expected; name and
// arguments are put before them.
type option struct {
	name     string
	want     string // the arguments, as the README writes them
	min, max int    // number of arguments
	set      func(*stanza, []string) error
	// check looks at the whole stanza once it is read, if the option stands in
	// it: what the option needs and what it excludes. It may be nil.
	check func(*stanza) error
}

const many = 1 << 10

// options are all words of the stanza, by name: those of the plugin kubernetes
// with the same meaning, and our own. Each topic has a file with its table.
var options = tableOf(sourceOptions, selectOptions, answerOptions, outsideOptions, clustersetOptions, staleOptions)

func tableOf(tables ...[]option) map[string]option {
	all := map[string]option{}
	for _, table := range tables {
		for _, o := range table {
			all[o.name] = o
		}
	}
	return all
}

// parse reads the stanza of one server block.
func parse(c *caddy.Controller) (*stanza, error) {
	var s *stanza
	for c.Next() {
		if s != nil {
			return nil, plugin.ErrOnce
		}
		s = &stanza{settings: settings{ttl: defaultTTL}, startupTimeout: defaultStartupTimeout}
		args := c.RemainingArgs()
		s.zones = plugin.OriginsFromArgsOrServerBlock(args, c.ServerBlockKeys)
		if len(args) == 0 {
			args = c.ServerBlockKeys
		}
		if err := checkZones(args, s.zones); err != nil { // as they are written: a CIDR may be many zones
			return nil, c.Err(err.Error())
		}
		if err := s.block(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// longestZone leaves room for the longest name that every zone has, hostmaster.ZONE.
const longestZone = longestName - len("hostmaster.")

// checkZones looks for zones in which nothing could be found.
func checkZones(written, zones []string) error {
	if _, primary := makeZones(zones); primary == nil {
		return fmt.Errorf("zones %s: want at least one that is not a reverse zone, such as cluster.local", strings.Join(written, " "))
	}
	for _, zone := range zones {
		if len(zone) > longestZone {
			return fmt.Errorf("zone %s: want at most %d characters, so that names in it have 255 octets at most", zone, longestZone-1)
		}
		if slices.Contains(dns.SplitDomainName(zone), "*") {
			log.Warningf("zone %s: * stands for itself, so no name of the cluster is in this zone; want a zone such as cluster.local", zone)
		}
	}
	return nil
}

// block reads the options and checks them together, in the order of their names,
// so that the same stanza always gives the same error.
func (s *stanza) block(c *caddy.Controller) error {
	given := map[string][]string{}
	for c.NextBlock() {
		name, args := c.Val(), c.RemainingArgs()
		if err := s.option(name, args); err != nil {
			return c.Err(err.Error())
		}
		given[name] = args
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if check := options[name].check; check != nil {
			if err := check(s); err != nil {
				return c.Err(at(name, given[name], err).Error())
			}
		}
	}
	return nil
}

func (s *stanza) option(name string, args []string) error {
	o, known := options[name]
	switch {
	case !known:
		return fmt.Errorf("unknown option %q: want one of %s", name, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
	case len(args) < o.min || len(args) > o.max:
		return at(name, args, fmt.Errorf("want %s", o.want))
	}
	if err := o.set(s, args); err != nil {
		return at(name, args, err)
	}
	return nil
}

// at puts the option as it stands in the Corefile before an error.
func at(name string, args []string, err error) error {
	return fmt.Errorf("option %s: %w", strings.Join(append([]string{name}, args...), " "), err)
}
