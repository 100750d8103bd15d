package peer

import (
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/test/api"
)

// Both follow what changes.
func TestChanges(t *testing.T) {
	s := api.New(t)
	s.Put(Cluster()...)
	theirs, ours := Start(t, "kubernetes", s.URL, "", ""), Start(t, "signpost", s.URL, "", "")
	steps := []struct {
		name string
		do   func()
		q    string
		want string
	}{
		{"created", func() { s.Put(Service("ns", "new", HTTP, "10.0.0.77")) }, "new.ns.svc.cluster.local.", "10.0.0.77"},
		{"changed", func() { s.Put(Service("ns", "new", HTTP, "10.0.0.78")) }, "new.ns.svc.cluster.local.", "10.0.0.78"},
		{"after a cut", func() { s.DropConnections(); s.Put(Service("ns", "new", HTTP, "10.0.0.79")) }, "new.ns.svc.cluster.local.", "10.0.0.79"},
		{"after an expired version", func() {
			s.Refuse(503)
			s.DropConnections()
			s.Put(Service("ns", "new", HTTP, "10.0.0.80"))
			s.Expire()
			s.Refuse(0)
		}, "new.ns.svc.cluster.local.", "10.0.0.80"},
		{"deleted", func() { s.Delete(Service("ns", "new", HTTP, "10.0.0.80")) }, "new.ns.svc.cluster.local.", "NXDOMAIN"},
	}
	for _, step := range steps {
		step.do()
		for _, side := range []Side{ours, theirs} {
			deadline := time.Now().Add(60 * time.Second)
			for {
				r := exchange(t, side, query{name: step.q, qtype: "A", size: 4096})
				if strings.Contains(r.String(), step.want) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s: %s still says\n%s", step.name, side.Plugin, r)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
}
