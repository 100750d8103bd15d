package agent

import (
	"slices"
	"strings"
	"testing"
)

// With CutHalfOpen the cleaner is told of TCP as well; a port of TCP and one of UDP with
// one name are two.
func TestHalfOpenConnectionsAreCut(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.flows = newFlows(true)
		happened := func(name string, want ...string) {
			t.Helper()
			s.settle()
			if got := s.kernel.happened(); !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		web := service("web", "10.96.0.20")
		s.put(web, slice(web, "10.244.1.2", "10.244.1.3"))
		s.store.MarkSynced()
		s.start()
		happened("start", "sync", "clean [10.96.0.20 tcp 80 keep [10.244.1.2:8080 10.244.1.3:8080]]")
		s.put(slice(web, "10.244.1.2", "10.244.1.3", "10.244.1.4"))
		happened("a backend more", "apply")
		s.put(slice(web, "10.244.1.2-", "10.244.1.4"))
		happened("one is gone, one drains", "apply",
			"clean [10.96.0.20 tcp 80 keep [10.244.1.4:8080] and flows to [10.244.1.2:8080]]")
	})
}
