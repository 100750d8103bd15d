package peer

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/api"
)

// zoneOf fetches a zone and writes its records as texts does.
func zoneOf(t *testing.T, s Side, zone string) []string {
	t.Helper()
	ch, err := new(dns.Transfer).In(new(dns.Msg).SetAxfr(zone), s.TCP)
	if err != nil {
		t.Fatalf("the zone %s from %s: %v", zone, s.Plugin, err)
	}
	var rrs []dns.RR
	for e := range ch {
		if e.Error != nil {
			t.Fatalf("the zone %s from %s: %v", zone, s.Plugin, e.Error)
		}
		rrs = append(rrs, e.RR...)
	}
	return texts(rrs)
}

// TestTransferBesideKubernetes: what a secondary of the peer has, one of ours has
// too, but for what the peer's own queries do not say; and what is only in ours is
// what both answer when they are asked.
func TestTransferBesideKubernetes(t *testing.T) {
	s := api.New(t)
	s.Put(Cluster()...)
	const rest = "transfer {\n to *\n }"
	ours, theirs := Start(t, "signpost", s.URL, "", rest), Start(t, "kubernetes", s.URL, "", rest)
	mine, peers := zoneOf(t, ours, "cluster.local."), zoneOf(t, theirs, "cluster.local.")
	alike := 0
	for _, text := range peers {
		switch {
		case slices.Contains(mine, text):
			alike++
		case strings.Contains(text, " srv 0 0 65535 "): // of a Service without ports
		case strings.Contains(text, " ns "), strings.HasPrefix(text, "ns.dns."): // B3
		default:
			t.Errorf("only from the peer: %s", text)
		}
	}
	more := 0
	for _, text := range mine {
		if slices.Contains(peers, text) || strings.Contains(text, " ns ") || strings.HasPrefix(text, "ns.dns.") {
			continue
		}
		more++
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, side := range []Side{ours, theirs} {
			r := exchange(t, side, query{name: rr.Header().Name, qtype: dns.TypeToString[rr.Header().Rrtype], size: 4096})
			if !slices.Contains(r.answer, text) {
				t.Errorf("only from us: %s, but %s is asked and says\n%s", text, side.Plugin, r)
			}
		}
	}
	t.Logf("%d records in both, %d only in ours", alike, more)
	if alike < 20 || more == 0 {
		t.Errorf("%d records in both, %d more in ours: want 20 and some", alike, more)
	}
}
