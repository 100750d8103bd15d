package signpost

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// answerOptions say what is answered.
var answerOptions = []option{
	{"ttl", "SECONDS [negative SECONDS]", 1, 3, setTTL, nil},
	{"ptr", "all|headless|hostname|services [single]", 1, 2, setPTR, nil},
	{"pods", "disabled|insecure|verified", 1, 1, setPods, nil},
	{"fallthrough", "[ZONES...]", 0, many, setFallthrough, checkFallthrough},
	{"endpoint_pod_names", "no argument", 0, 0, setEndpointPodNames, nil},
	{"noendpoints", "no argument", 0, 0, setNoEndpoints, nil},
	{"ignore", "empty_service", 1, 1, setIgnore, needsEndpoints},
	{"max_udp_size", "BYTES", 1, 1, setMaxUDP, nil},
	{"why", "no argument", 0, 0, setWhy, nil},
	{"zonal", "no argument", 0, 0, setZonal, needsEndpoints},
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

// checkFallthrough looks for zones without effect: queries for them come to other plugins
// or server blocks anyway.
func checkFallthrough(s *stanza) error {
	zones := slices.Concat(s.zones, s.outside.zones)
	for _, f := range s.fall.Zones {
		if !slices.ContainsFunc(zones, func(zone string) bool { return dns.IsSubDomain(f, zone) || dns.IsSubDomain(zone, f) }) {
			log.Warningf("option fallthrough: no name of %s is in a zone of this stanza (%s), so it has no effect", f, strings.Join(zones, " "))
		}
	}
	return nil
}

func setEndpointPodNames(s *stanza, _ []string) error {
	s.feed.podNames = true
	return nil
}

func setNoEndpoints(s *stanza, _ []string) error {
	s.feed.noEndpoints = true
	return nil
}

func setIgnore(s *stanza, args []string) error {
	if args[0] != "empty_service" {
		return errors.New("want empty_service")
	}
	s.ignoreEmpty = true
	return nil
}

// The range is that of the plugin bufsize: what is in it fits into a datagram.
func setMaxUDP(s *stanza, args []string) error {
	n, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil || n < dns.MinMsgSize || n > largestMaxUDP {
		return fmt.Errorf("want a whole number of bytes from %d to %d", dns.MinMsgSize, largestMaxUDP)
	}
	s.maxUDP = int(n)
	return nil
}

func setWhy(s *stanza, _ []string) error {
	s.why = true
	return nil
}

func setZonal(s *stanza, _ []string) error {
	s.zonal = true
	return nil
}

// needsEndpoints refuses a stanza in which an option could have no answer but no.
func needsEndpoints(s *stanza) error {
	if s.feed.noEndpoints {
		return errors.New("it is about endpoints; want it without noendpoints")
	}
	return nil
}
