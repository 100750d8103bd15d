package ipvs

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
	"github.com/signpost-dns/signpost/internal/netlab"
)

// lacks is what IPVS cannot do.
var lacks = map[string]string{
	conformance.SharedAffinity: "IPVS remembers a client for each virtual server, and every frontend is one",
	conformance.ShortAffinity:  "IPVS remembers a client at least as long as connections of it, and TCP's last two minutes after their end",
	conformance.OtherPorts:     "IPVS sees only packets for the node itself, so that the address is on kube-ipvs0 and the node's own",
}

// TestConformance sends packets: see package conformance.
func TestConformance(t *testing.T) {
	netlab.NeedIPVS(t)
	conformance.Run(t, conformance.Backend{
		Open:  func() (dataplane.Dataplane, error) { return Open(Options{}) },
		State: state, Sequences: 5, Proven: true, Lacks: lacks, Samples: 45,
	})
}

// state is what ipvsadm and ip list, without what drains, and what the companions have.
func state() (string, error) {
	var lines []string
	for _, args := range [][]string{
		{"ipvsadm", "-S", "-n"}, {"ip", "-o", "addr", "show", "dev", linkName},
		{"ip", "route", "show", "table", "local", "dev", linkName}, {"ip", "-6", "route", "show", "table", "local", "dev", linkName},
		{"nft", "list", "ruleset"},
	} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
		for line := range strings.Lines(string(out)) {
			line = dialSource.ReplaceAllString(ifIndex.ReplaceAllString(line, ""), "src the node's own")
			if line = strings.TrimSpace(line); !strings.HasSuffix(line, "-w 0") {
				line = strings.TrimPrefix(line, "elements = { ")
				lines = append(lines, strings.TrimSuffix(strings.TrimSuffix(line, " }"), ","))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

var (
	ifIndex    = regexp.MustCompile(`^\d+: `) // of the interface, before its name
	dialSource = regexp.MustCompile(`src [0-9a-f.:]+`)
)
