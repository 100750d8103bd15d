package signpost

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coredns/coredns/plugin"
)

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
	// The first zone that is left is where names of this cluster are.
	slices.SortStableFunc(s.zones, func(a, b string) int { return s.later(a) - s.later(b) })
	return nil
}

// later is 1 for the zones of a set of clusters, else 0.
func (s *stanza) later(zone string) int {
	if slices.Contains(s.clusterset, zone) {
		return 1
	}
	return 0
}
