package signpost

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/miekg/dns"
)

// stanza holds what a Corefile says about the plugin.
type stanza struct {
	settings
	zones          []string
	startupTimeout time.Duration
	feed           feedConfig
	snapshot       snapshotConfig
}

// settings are the options that decide the answers. They do not change once the server
// serves.
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

	why bool // names with _why before them explain the answer

	staleUnready bool          // not ready with an index that was restored
	staleAfter   time.Duration // not ready with data older than that; 0: never
}

// podMode is the value of the option pods.
type podMode uint8

const (
	podsDisabled podMode = iota // no names below pod
	podsInsecure                // every address has a name, whether a pod has it or not
	podsVerified                // only addresses of running pods of that namespace
)

// ptrPolicy says which endpoints have a name to which their address leads back. A
// ClusterIP always leads back to its Service.
type ptrPolicy uint8

const (
	ptrAll      ptrPolicy = iota // below each Service that they serve, as in the plugin kubernetes
	ptrHeadless                  // below headless Services only: what the specification asks for
	ptrHostname                  // of those only the ones with a hostname of their own
	ptrServices                  // none
)

// outsideSettings are the options about names for clients outside the cluster.
type outsideSettings struct {
	zones    []string // empty: there are none
	apex     string   // the label of the server's own name: see label
	headless bool     // headless Services have names too
	ttl      uint32   // seconds; used if set
	ttlSet   bool
}

// label returns the label below which the server's own name stands: ns1.LABEL.ZONE.
func (o *outsideSettings) label() string {
	if o.apex == "" {
		return "dns"
	}
	return o.apex
}

// option is one word of the stanza. Its errors say what is wanted; the caller puts name and
// arguments before them.
type option struct {
	name     string
	want     string // the arguments, as the README writes them
	min, max int    // number of arguments
	set      func(*stanza, []string) error
	// check validates the whole stanza after it is read, if the option is in it: what
	// the option needs and what it excludes. It may be nil.
	check func(*stanza) error
}

const many = 1 << 10

// options holds all words of the stanza, by name: those of the plugin kubernetes with the
// same meaning, and our own. Each topic has its table.
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

// checkZones refuses zones in which no name can exist.
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

// block reads the options and checks them in the order of their names, so that the same
// stanza always gives the same error.
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

// flag returns the setter of an option without arguments.
func flag(field func(*stanza) *bool) func(*stanza, []string) error {
	return func(s *stanza, _ []string) error {
		*field(s) = true
		return nil
	}
}

// at puts the option as written in the Corefile before an error.
func at(name string, args []string, err error) error {
	return fmt.Errorf("option %s: %w", strings.Join(append([]string{name}, args...), " "), err)
}

// sourceOptions say where the cluster's objects come from.
var sourceOptions = []option{
	{"endpoint", "URL", 1, many, setEndpoint, checkEndpoint},
	{"tls", "CERT KEY CACERT", 3, 3, setTLS, checkTLS},
	{"kubeconfig", "FILE [CONTEXT]", 1, 2, setKubeconfig, nil},
	{"apiserver_qps", "NUMBER", 1, 1, setQPS, nil},
	{"apiserver_burst", "COUNT", 1, 1, setBurst, nil},
	{"apiserver_max_inflight", "COUNT", 1, 1, setMaxInFlight, nil},
	{"startup_timeout", "DURATION", 1, 1, setStartupTimeout, nil},
	{"manifests", "DIR", 1, 1, setManifests, checkManifests},
}

const defaultStartupTimeout = 5 * time.Second

func setEndpoint(s *stanza, args []string) error {
	if len(args) > 1 {
		log.Warningf("option endpoint: only the first address is used: %s", args[0])
	}
	s.feed.kube.Endpoint = args[0]
	return nil
}

func checkEndpoint(s *stanza) error {
	if s.feed.kube.Kubeconfig != "" {
		log.Warningf("option endpoint %s has no effect beside kubeconfig", s.feed.kube.Endpoint)
	}
	return nil
}

func setTLS(s *stanza, args []string) error {
	k := &s.feed.kube
	k.CertFile, k.KeyFile, k.CAFile = args[0], args[1], args[2]
	return nil
}

func checkTLS(s *stanza) error {
	if s.feed.kube.Endpoint == "" {
		log.Warning("option tls has no effect without endpoint")
	}
	return nil
}

func setKubeconfig(s *stanza, args []string) error {
	s.feed.kube.Kubeconfig = args[0]
	if len(args) == 2 {
		s.feed.kube.Context = args[1]
	}
	return nil
}

// Upper bounds of the limits: more than any API server takes.
const (
	maxQPS   = 1e6
	maxCount = 1e6
)

func setQPS(s *stanza, args []string) error {
	qps, err := strconv.ParseFloat(args[0], 32)
	if err != nil || !(qps >= 0 && qps <= maxQPS) { // so that NaN is none
		return fmt.Errorf("want requests per second, from 0 (the default) to %d", int(maxQPS))
	}
	s.feed.kube.QPS = float32(qps)
	return nil
}

func setBurst(s *stanza, args []string) (err error) {
	s.feed.kube.Burst, err = parseCount(args[0], "the default")
	return err
}

func setMaxInFlight(s *stanza, args []string) (err error) {
	s.feed.maxInFlight, err = parseCount(args[0], "no limit")
	return err
}

func parseCount(text, zero string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxCount {
		return 0, fmt.Errorf("want a number of requests, from 0 (%s) to %d", zero, int(maxCount))
	}
	return int(n), nil
}

func setStartupTimeout(s *stanza, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil || d < 0 {
		return errors.New("want a duration with its unit, such as 5s; 0s does not wait")
	}
	s.startupTimeout = d
	return nil
}

func setManifests(s *stanza, args []string) error {
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return errors.New("want a folder of YAML or JSON files")
	}
	s.feed.manifests = dir
	return nil
}

func checkManifests(s *stanza) error {
	if s.feed.kube.Endpoint != "" || s.feed.kube.Kubeconfig != "" {
		return errors.New("it replaces the Kubernetes API; want it without endpoint and kubeconfig")
	}
	return nil
}

// selectOptions say which objects of the source have names. Other objects are never read,
// so they take no memory and need no permissions.
var selectOptions = []option{
	{"namespaces", "NAMESPACE...", 1, many, setNamespaces, nil},
	{"namespace_labels", "a selector such as team=dns,stage!=test", 1, many, setNamespaceLabels, checkNamespaceLabels},
	{"labels", "a selector such as app=web,tier!=test", 1, many, setLabels, nil},
}

// setNamespaces adds to the namespaces of earlier lines. They are sorted, so that stanzas
// with the same namespaces share a feed.
func setNamespaces(s *stanza, args []string) error {
	names := append(strings.Fields(s.feed.namespaces), args...)
	for _, name := range names {
		if !isNamespace(name) {
			return fmt.Errorf("want names of namespaces (lower-case letters, digits and inner dashes, at most 63); not %q", name)
		}
	}
	slices.Sort(names)
	s.feed.namespaces = strings.Join(slices.Compact(names), " ")
	return nil
}

// isNamespace reports whether the API accepts a namespace of that name: an RFC 1123 label
// in lower case.
func isNamespace(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func setNamespaceLabels(s *stanza, args []string) (err error) {
	s.feed.namespaceLabels, err = parseSelector(strings.Join(args, " "))
	return err
}

func checkNamespaceLabels(s *stanza) error {
	if s.feed.namespaces != "" {
		return errors.New("want it or namespaces, not both")
	}
	return nil
}

func setLabels(s *stanza, args []string) (err error) {
	s.feed.labels, err = parseSelector(strings.Join(args, " "))
	return err
}

// answerOptions decide the answers.
var answerOptions = []option{
	{"ttl", "SECONDS [negative SECONDS]", 1, 3, setTTL, nil},
	{"ptr", "all|headless|hostname|services [single]", 1, 2, setPTR, nil},
	{"pods", "disabled|insecure|verified", 1, 1, setPods, nil},
	{"fallthrough", "[ZONES...]", 0, many, setFallthrough, checkFallthrough},
	{"endpoint_pod_names", "no argument", 0, 0, flag(func(s *stanza) *bool { return &s.feed.podNames }), nil},
	{"noendpoints", "no argument", 0, 0, flag(func(s *stanza) *bool { return &s.feed.noEndpoints }), nil},
	{"ignore", "empty_service", 1, 1, setIgnore, needsEndpoints},
	{"max_udp_size", "BYTES", 1, 1, setMaxUDP, nil},
	{"why", "no argument", 0, 0, flag(func(s *stanza) *bool { return &s.why }), nil},
	{"zonal", "no argument", 0, 0, flag(func(s *stanza) *bool { return &s.zonal }), needsEndpoints},
}

const (
	defaultTTL = 5
	maxTTL     = 3600

	largestMaxUDP = 4096
)

func setTTL(s *stanza, args []string) error {
	t, err := seconds(args[0])
	if err != nil {
		return err
	}
	s.ttl, s.negative = t, nil
	if len(args) == 1 {
		return nil
	}
	if len(args) != 3 || args[1] != "negative" {
		return errors.New("want SECONDS, or SECONDS negative SECONDS")
	}
	n, err := seconds(args[2])
	s.negative = &n
	return err
}

func seconds(text string) (uint32, error) {
	t, err := strconv.ParseUint(text, 10, 32)
	if err != nil || t > maxTTL {
		return 0, fmt.Errorf("want a whole number of seconds from 0 to %d", maxTTL)
	}
	return uint32(t), nil
}

func setPTR(s *stanza, args []string) error {
	policies := map[string]ptrPolicy{"all": ptrAll, "headless": ptrHeadless, "hostname": ptrHostname, "services": ptrServices}
	policy, ok := policies[args[0]]
	if !ok {
		return errors.New("want all, headless, hostname or services")
	}
	single := len(args) == 2
	if single && args[1] != "single" {
		return fmt.Errorf("want single or nothing, not %q", args[1])
	}
	s.ptr, s.ptrSingle = policy, single
	return nil
}

func setPods(s *stanza, args []string) error {
	modes := map[string]podMode{"disabled": podsDisabled, "insecure": podsInsecure, "verified": podsVerified}
	mode, ok := modes[args[0]]
	if !ok {
		return errors.New("want disabled, insecure or verified")
	}
	s.pods = mode
	s.feed.pods = mode == podsVerified
	return nil
}

func setFallthrough(s *stanza, args []string) error {
	for _, zone := range args {
		if _, ok := dns.IsDomainName(zone); !ok {
			return fmt.Errorf("want zones, such as in-addr.arpa; not %q", zone)
		}
	}
	s.fall.SetZonesFromArgs(args)
	return nil
}

// checkFallthrough warns about zones without effect: this plugin does not get their
// queries.
func checkFallthrough(s *stanza) error {
	zones := slices.Concat(s.zones, s.outside.zones)
	for _, f := range s.fall.Zones {
		if !slices.ContainsFunc(zones, func(zone string) bool { return dns.IsSubDomain(f, zone) || dns.IsSubDomain(zone, f) }) {
			log.Warningf("option fallthrough: no name of %s is in a zone of this stanza (%s), so it has no effect", f, strings.Join(zones, " "))
		}
	}
	return nil
}

func setIgnore(s *stanza, args []string) error {
	if args[0] != "empty_service" {
		return errors.New("want empty_service")
	}
	s.ignoreEmpty = true
	return nil
}

// setMaxUDP accepts the range of the plugin bufsize: what is in it fits into a datagram.
func setMaxUDP(s *stanza, args []string) error {
	n, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil || n < dns.MinMsgSize || n > largestMaxUDP {
		return fmt.Errorf("want a whole number of bytes from %d to %d", dns.MinMsgSize, largestMaxUDP)
	}
	s.maxUDP = int(n)
	return nil
}

// needsEndpoints refuses a stanza without the endpoints that an option needs.
func needsEndpoints(s *stanza) error {
	if s.feed.noEndpoints {
		return errors.New("it is about endpoints; want it without noendpoints")
	}
	return nil
}

// outsideOptions are about names for clients outside the cluster. They replace the plugin
// k8s_external, which works only with the plugin kubernetes.
var outsideOptions = []option{
	{"external", "ZONES...", 1, many, setExternal, checkExternal},
	{"apex", "LABEL", 1, 1, setExternalApex, needsExternal},
	{"headless", "no argument", 0, 0, flag(func(s *stanza) *bool { return &s.outside.headless }), needsExternal},
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

// checkExternal refuses zones with two meanings, and wants a zone for PTR records.
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

// clustersetOptions are about Services of a set of clusters.
var clustersetOptions = []option{
	{"multicluster", "ZONES...", 1, many, setMulticluster, checkMulticluster},
}

func setMulticluster(s *stanza, args []string) error {
	s.clusterset = plugin.OriginsFromArgsOrServerBlock(args, nil)
	s.feed.imports = true
	return nil
}

func checkMulticluster(s *stanza) error {
	for _, name := range s.clusterset {
		if !slices.Contains(s.zones, name) || isReverse(name) {
			return fmt.Errorf("want zones of this stanza that are no reverse zones, of %s; not %s", strings.Join(s.zones, " "), name)
		}
	}
	// The first zone that is left holds the names of this cluster.
	slices.SortStableFunc(s.zones, func(a, b string) int { return s.later(a) - s.later(b) })
	return nil
}

// later returns 1 for the zones of a set of clusters, else 0.
func (s *stanza) later(zone string) int {
	if slices.Contains(s.clusterset, zone) {
		return 1
	}
	return 0
}

// staleOptions decide the answers while the API is unavailable.
var staleOptions = []option{
	{"snapshot", "DIR [MAX_AGE]", 1, 2, setSnapshot, checkSnapshot},
	{"stale", "ready|unready [MAX_AGE]", 1, 2, setStale, checkStale},
}

const (
	// defaultMaxAge is the largest age of an index from which to answer after a
	// restart. ClusterIPs last longer, addresses of pods do not.
	defaultMaxAge = 24 * time.Hour
	// shortestStale is more than the time between two bookmarks of a quiet API.
	shortestStale = 2 * time.Minute
)

// setSnapshot accepts a folder that does not exist or is not writable: the server must
// answer even if its disk fails.
func setSnapshot(s *stanza, args []string) error {
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return errors.New("want a folder on a local disk; this is a file")
	}
	s.snapshot = snapshotConfig{dir: dir, maxAge: defaultMaxAge}
	if len(args) == 2 {
		s.snapshot.maxAge, err = duration(args[1], time.Second)
	}
	return err
}

func checkSnapshot(s *stanza) error {
	if s.feed.manifests != "" {
		return errors.New("a folder of manifests is on a disk already; want it without manifests")
	}
	return nil
}

func setStale(s *stanza, args []string) error {
	switch args[0] {
	case "ready", "unready":
		s.staleUnready = args[0] == "unready"
	default:
		return errors.New("want ready or unready")
	}
	if s.staleAfter = 0; len(args) == 2 {
		d, err := duration(args[1], shortestStale)
		if err != nil {
			return err
		}
		s.staleAfter = d
	}
	return nil
}

func checkStale(s *stanza) error {
	if s.feed.manifests != "" {
		return errors.New("a folder of manifests is never stale; want it without manifests")
	}
	if s.snapshot.dir == "" && s.staleAfter == 0 {
		log.Warning("option stale has no effect without snapshot or MAX_AGE: an index that was never synced is not ready")
	}
	return nil
}

// duration parses a duration with its unit that is not below the shortest.
func duration(text string, shortest time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < shortest {
		return 0, fmt.Errorf("want a duration with its unit, such as 1h, not below %v", shortest)
	}
	return d, nil
}
