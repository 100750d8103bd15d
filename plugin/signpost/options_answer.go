package signpost

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/miekg/dns"
)

// answerOptions say what is answered.
var answerOptions = []option{
	{"ttl", "SECONDS", 1, 1, setTTL, nil},
	{"pods", "disabled|insecure|verified", 1, 1, setPods, nil},
	{"fallthrough", "[ZONES...]", 0, many, setFallthrough, nil},
	{"endpoint_pod_names", "no argument", 0, 0, setEndpointPodNames, nil},
	{"noendpoints", "no argument", 0, 0, setNoEndpoints, nil},
	{"ignore", "empty_service", 1, 1, setIgnore, needsEndpoints},
	{"zonal", "no argument", 0, 0, setZonal, needsEndpoints},
}

const (
	defaultTTL = 5
	maxTTL     = 3600
)

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
