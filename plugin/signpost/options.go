package signpost

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
)

// stanza is what a Corefile says about the plugin.
type stanza struct {
	zones          []string
	ttl            uint32
	pods           podMode
	fall           fall.F
	startupTimeout time.Duration
	feed           feedConfig
}

const (
	defaultTTL            = 5
	maxTTL                = 3600
	defaultStartupTimeout = 5 * time.Second
)

// option reads the arguments of one option into the stanza. An error says what
// was expected; the option's name is put before it.
type option struct {
	min, max int    // number of arguments
	want     string // the arguments, as the README writes them
	set      func(*stanza, []string) error
}

// options are those of the kubernetes plugin with the same meaning, and `manifests`.
var options = map[string]option{
	"ttl":                {1, 1, "SECONDS", setTTL},
	"pods":               {1, 1, "disabled|insecure|verified", setPods},
	"fallthrough":        {0, many, "[ZONES...]", setFallthrough},
	"endpoint_pod_names": {0, 0, "no argument", func(s *stanza, _ []string) error { s.feed.podNames = true; return nil }},
	"startup_timeout":    {1, 1, "DURATION", setStartupTimeout},
	"endpoint":           {1, many, "URL", setEndpoint},
	"tls":                {3, 3, "CERT KEY CACERT", setTLS},
	"kubeconfig":         {1, 2, "FILE [CONTEXT]", setKubeconfig},
	"manifests":          {1, 1, "DIR", setManifests},
}

// later are options of the kubernetes plugin that this version does not have:
// better no start than a server that ignores what it was told.
var later = map[string]bool{
	"apiserver_qps": true, "apiserver_burst": true, "apiserver_max_inflight": true,
	"namespaces": true, "namespace_labels": true, "labels": true, "noendpoints": true,
	"ignore": true, "multicluster": true, "zonal": true,
}

const many = 1 << 10

// parse reads the stanza of one server block.
func parse(c *caddy.Controller) (*stanza, error) {
	var s *stanza
	for c.Next() {
		if s != nil {
			return nil, plugin.ErrOnce
		}
		s = &stanza{ttl: defaultTTL, startupTimeout: defaultStartupTimeout}
		s.zones = plugin.OriginsFromArgsOrServerBlock(c.RemainingArgs(), c.ServerBlockKeys)
		if _, primary := makeZones(s.zones); primary == nil {
			return nil, c.Errf("zones %s: want at least one that is not a reverse zone, such as cluster.local", strings.Join(s.zones, " "))
		}
		for c.NextBlock() {
			if err := s.option(c.Val(), c.RemainingArgs()); err != nil {
				return nil, c.Err(err.Error())
			}
		}
		if err := s.check(); err != nil {
			return nil, c.Err(err.Error())
		}
	}
	return s, nil
}

func (s *stanza) option(name string, args []string) error {
	o, known := options[name]
	switch {
	case later[name]:
		return fmt.Errorf("option %s: not supported by this version; remove it, or keep the plugin kubernetes", name)
	case !known:
		return fmt.Errorf("unknown option %q: want one of those in the README of the plugin signpost", name)
	case len(args) < o.min || len(args) > o.max:
		return fmt.Errorf("option %s %s: want %s", name, strings.Join(args, " "), o.want)
	}
	if err := o.set(s, args); err != nil {
		return fmt.Errorf("option %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// check looks at options that exclude each other.
func (s *stanza) check() error {
	f := &s.feed
	if f.manifests != "" && (f.kube.Endpoint != "" || f.kube.Kubeconfig != "") {
		return errors.New("option manifests: replaces the Kubernetes API; want it without endpoint and kubeconfig")
	}
	if f.kube.Kubeconfig != "" && f.kube.Endpoint != "" {
		log.Warningf("option endpoint %s has no effect beside kubeconfig", f.kube.Endpoint)
	}
	if f.kube.CertFile != "" && f.kube.Endpoint == "" {
		log.Warning("option tls has no effect without endpoint")
	}
	f.pods = s.pods == podsVerified
	return nil
}

func setTTL(s *stanza, args []string) error {
	t, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil || t > maxTTL {
		return fmt.Errorf("want a whole number of seconds from 0 to %d", maxTTL)
	}
	s.ttl = uint32(t)
	return nil
}

func setPods(s *stanza, args []string) error {
	modes := map[string]podMode{"disabled": podsDisabled, "insecure": podsInsecure, "verified": podsVerified}
	mode, ok := modes[args[0]]
	if !ok {
		return errors.New("want disabled, insecure or verified")
	}
	s.pods = mode
	return nil
}

func setFallthrough(s *stanza, args []string) error {
	s.fall.SetZonesFromArgs(args)
	return nil
}

func setStartupTimeout(s *stanza, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil || d < 0 {
		return errors.New("want a duration with its unit, such as 5s; 0s does not wait")
	}
	s.startupTimeout = d
	return nil
}

func setEndpoint(s *stanza, args []string) error {
	if len(args) > 1 {
		log.Warningf("option endpoint: only the first address is used: %s", args[0])
	}
	s.feed.kube.Endpoint = args[0]
	return nil
}

func setTLS(s *stanza, args []string) error {
	k := &s.feed.kube
	k.CertFile, k.KeyFile, k.CAFile = args[0], args[1], args[2]
	return nil
}

func setKubeconfig(s *stanza, args []string) error {
	s.feed.kube.Kubeconfig = args[0]
	if len(args) == 2 {
		s.feed.kube.Context = args[1]
	}
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
