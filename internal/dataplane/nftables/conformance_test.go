package nftables

import (
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Backend{
		Open: func() (dataplane.Dataplane, error) { return Open(owned) },
	})
}
