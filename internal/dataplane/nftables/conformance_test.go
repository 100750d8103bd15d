package nftables

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
	"github.com/signpost-dns/signpost/test/listing"
)

// TestConformance sends packets: see package conformance.
func TestConformance(t *testing.T) {
	b := conformance.Backend{
		Open:      func() (dataplane.Dataplane, error) { return Open(owned) },
		Sequences: 12,
	}
	if _, err := exec.LookPath("nft"); err != nil {
		b.NoState = err.Error() + " (apt-get install nftables)"
	} else {
		b.State = state
	}
	conformance.Run(t, b)
}

// state is what nft lists, however it came about.
func state() (string, error) {
	ruleset, err := exec.Command("nft", "list", "ruleset").Output()
	if err != nil {
		return "", fmt.Errorf("nft list ruleset: %w", err)
	}
	return strings.Join(listing.Blocks(string(ruleset)), "\n"), nil
}
