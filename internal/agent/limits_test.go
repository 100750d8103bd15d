package agent

import (
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// limited is a mode without external addresses.
var limited = []dataplane.Limit{{
	Name: "external", Why: "there is no way", Concerns: func(r *vip.Route) bool { return r.Kind == vip.ExternalIP },
}}

// What a mode can do in part only is counted, and told once.
func TestLimits(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.limits = newLimits(limited)
		s.put(service("plain", "10.96.0.20"))
		s.store.MarkSynced()
		s.start()
		concerned := func(name string, want float64, told int) {
			t.Helper()
			s.settle()
			if got := s.metric(`signpost_mode_limits{limit="external"}`); got != want {
				t.Errorf("%s: %v frontends, want %v", name, got, want)
			}
			if log := s.notes.take(); strings.Count(log, "limit=external") != told {
				t.Errorf("%s: told, want %d times:\n%s", name, told, log)
			}
		}
		concerned("none asks for it", 0, 0)
		s.put(service("web", "10.96.0.21", "external=192.0.2.9"), service("shop", "10.96.0.22", "external=192.0.2.10"))
		concerned("two do", 2, 1)
		s.put(service("web", "10.96.0.21", "external=192.0.2.11"))
		concerned("one has another address", 2, 0)
		s.del(ref("web"), ref("shop"))
		concerned("they are gone", 0, 0)
		s.put(service("web", "10.96.0.21", "external=192.0.2.9"))
		concerned("one is back", 1, 0)
	})
}
