package signpost

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func readyIn(addr, zone string) cluster.Endpoint {
	ep := ready(addr, "")
	ep.Zone = cluster.MakeAtom(zone)
	return ep
}

// zoned is the fixture with a headless Service over three zones.
func zoned() *cluster.Store {
	s := fixture()
	s.Put(7, service("ns", "db", nil),
		slice("ns", "db", "db-1", http8080, readyIn("172.16.5.1", "a"), readyIn("172.16.5.2", "b"), readyIn("172.16.5.3", "b")),
		slice("ns", "db", "db-6", http8080, readyIn("fd00:5::1", "Corp.example")),
	)
	return s
}

func TestZonal(t *testing.T) {
	const db = "db.ns.svc.cluster.local."
	srv := func(owner string, list ...string) want {
		weight := 100 / (len(list) / 2)
		var answer, glue []string
		for i := 0; i < len(list); i += 2 {
			answer = append(answer, fmt.Sprintf("%s 5 IN SRV 0 %d 8080 %s.%s", owner, weight, list[i], db))
			glue = append(glue, fmt.Sprintf("%s.%s 5 IN %s", list[i], db, list[i+1]))
		}
		return records(answer...).with(glue...)
	}
	tests := []query{
		{"a.pin._zone.db.ns.svc", "A", records("a.pin._zone." + db + " 5 IN A 172.16.5.1")},
		{"A.Pin._ZONE.db.ns.svc", "A", records("A.Pin._ZONE." + db + " 5 IN A 172.16.5.1")},
		{"b.pin._zone.db.ns.svc", "A", records("b.pin._zone."+db+" 5 IN A 172.16.5.2", "b.pin._zone."+db+" 5 IN A 172.16.5.3")},
		{"b.pin._zone.db.ns.svc", "AAAA", noData()},
		{"b.pin._zone.db.ns.svc", "TXT", noData()},
		{"c.pin._zone.db.ns.svc", "A", noData()},
		{"c.pin._zone.db.ns.svc", "TXT", noData()},
		{"corp.example.pin._zone.db.ns.svc", "AAAA", records("corp.example.pin._zone." + db + " 5 IN AAAA fd00:5::1")},
		{"example.pin._zone.db.ns.svc", "AAAA", noData()},
		{"b.pin._zone.db.ns.svc", "SRV", srv("b.pin._zone."+db, "172-16-5-2", "A 172.16.5.2", "172-16-5-3", "A 172.16.5.3")},

		{"a.prefer._zone.db.ns.svc", "A", records("a.prefer._zone." + db + " 5 IN A 172.16.5.1")},
		{"a.prefer._zone.db.ns.svc", "AAAA", noData()},
		{"c.prefer._zone.db.ns.svc", "A", records("c.prefer._zone."+db+" 5 IN A 172.16.5.1",
			"c.prefer._zone."+db+" 5 IN A 172.16.5.2", "c.prefer._zone."+db+" 5 IN A 172.16.5.3")},
		{"c.prefer._zone.db.ns.svc", "SRV", srv("c.prefer._zone."+db, "172-16-5-1", "A 172.16.5.1", "172-16-5-2", "A 172.16.5.2",
			"172-16-5-3", "A 172.16.5.3", "fd00-5--1", "AAAA fd00:5::1")},
		{"c.prefer._zone.db.ns.svc", "TXT", noData()},

		{"pin._zone.db.ns.svc", "A", noData()},
		{"prefer._zone.db.ns.svc", "A", noData()},
		{"_zone.db.ns.svc", "A", noData()},
		{"a.other._zone.db.ns.svc", "A", nxDomain()},
		{"other._zone.db.ns.svc", "A", nxDomain()},
		{"a.pin._zone.gone.ns.svc", "A", nxDomain()},
		{"a.pin._zone.idle.ns.svc", "A", nxDomain()}, // no ready endpoint: the Service has no name either
		{"a.pin._zone.web.ns.svc", "A", nxDomain()},  // a ClusterIP is in no zone
		{"_zone.web.ns.svc", "A", nxDomain()},
		{"a.pin._zone.ext.ns.svc", "A", nxDomain()},
		{"x._zone.ns.svc", "A", nxDomain()},
		{"a.pin._zone.hdls.ns.svc", "A", noData()},
		{"a.prefer._zone.hdls.ns.svc", "AAAA", records("a.prefer._zone.hdls.ns.svc.cluster.local. 5 IN AAAA fd00:2::b")},
	}
	on := plugged(zoned(), func(s *Signpost) { s.zonal = true })
	off := plugged(zoned(), nil)
	for _, q := range tests {
		t.Run(q.name+" "+q.qtype, func(t *testing.T) { check(t, on, q) })
		t.Run("off "+q.name+" "+q.qtype, func(t *testing.T) { check(t, off, query{q.name, q.qtype, nxDomain()}) })
	}
}

// A zone of thousands costs and says what a headless Service of thousands does.
func TestZonalThatDoesNotFit(t *testing.T) {
	store := crowd(1000)
	s := plugged(store, func(s *Signpost) { s.zonal = true })
	if m, _ := ask(t, s, "c.prefer._zone.crowd.ns.svc.cluster.local.", dns.TypeA); !m.Truncated || len(m.Answer) != dns.MinMsgSize/addressSize {
		t.Errorf("prefer: tc %v, %d records", m.Truncated, len(m.Answer))
	}
	var eps []cluster.Endpoint
	for i := range 200 {
		eps = append(eps, readyIn(fmt.Sprintf("172.18.0.%d", i), "z"))
	}
	store.Put(2, slice("ns", "crowd", "crowd-z", http8080, eps...))
	seen := map[string]bool{}
	for range 50 {
		m, _ := ask(t, s, "z.pin._zone.crowd.ns.svc.cluster.local.", dns.TypeA)
		if !m.Truncated || len(m.Answer) != dns.MinMsgSize/addressSize {
			t.Fatalf("pin: tc %v, %d records", m.Truncated, len(m.Answer))
		}
		for _, rr := range m.Answer {
			seen[rr.(*dns.A).A.String()] = true
		}
	}
	if len(seen) < 150 {
		t.Errorf("only %d of 200 endpoints had their turn", len(seen))
	}
}
