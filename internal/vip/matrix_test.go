package vip

import (
	"fmt"
	"strings"
	"testing"
)

// TestMasqueradeMatrix is every class of client against every kind of address and
// policy: kube-proxy's TestInternalExternalMasquerade, 27 packets in 4 configurations
// (there the packet of the node to svc2's NodePort goes to svc1's by mistake). L is the
// endpoint here, R the one on another node, m: masqueraded.
func TestMasqueradeMatrix(t *testing.T) {
	columns := []string{"svc1 ClusterIP", "svc1 NodePort", "svc1 LB", "svc2 ClusterIP", "svc2 NodePort", "svc2 LB", "svc3 ClusterIP", "svc3 NodePort", "svc3 LB"}
	base := map[string]string{
		"P": "LR- LRm LRm  LR- LR- LR-  L- LRm LRm",
		"N": "LRm LRm LRm  LRm LRm LRm  Lm LRm LRm",
		"X": "LRm LRm LRm  LRm L-  L-   Lm LRm LRm",
	}
	for _, c := range []struct {
		name, node, host string
		want             map[string]string
	}{
		{"pods are told", "", "", base},
		{"masqueradeAll", "node masquerade-all", "", map[string]string{
			"P": "LRm LRm LRm  LRm LR- LR-  Lm LRm LRm", "N": base["N"], "X": base["X"],
		}},
		{"nobody is told", "", "host pods=", map[string]string{
			"P": "LR- LRm LRm  LR- L- L-  L- LRm LRm",
			"N": "LR- LRm LRm  LR- LRm LRm  L- LRm LRm",
			"X": "LR- LRm LRm  LR- L- L-  L- LRm LRm",
		}},
		{"masqueradeAll, nobody is told", "node masquerade-all", "host pods=", map[string]string{
			"P": "LRm LRm LRm  LRm L- L-  Lm LRm LRm",
			"N": base["N"], "X": base["X"],
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			for _, line := range []string{c.node, c.host} {
				if line != "" {
					s.do(line, strings.Fields(line))
				}
			}
			for i, line := range []string{
				"service svc1 172.30.0.41 lb=1.2.3.4 port=p80:80/tcp:3001",
				"service svc2 172.30.0.42 lb=5.6.7.8 etp=Local port=p80:80/tcp:3002",
				"service svc3 172.30.0.43 lb=9.10.11.12 itp=Local port=p80:80/tcp:3003",
			} {
				s.do(line, strings.Fields(line))
				line = fmt.Sprintf("endpoints svc%d p80:80/tcp 10.180.0.%d@local 10.180.1.%d@remote", i+1, i+1, i+1)
				s.do(line, strings.Fields(line))
			}
			to := strings.Fields("172.30.0.41:80 N:3001 1.2.3.4:80 172.30.0.42:80 N:3002 5.6.7.8:80 172.30.0.43:80 N:3003 9.10.11.12:80")
			for from, row := range c.want {
				for i, want := range strings.Fields(row) {
					t.Run(from+" to "+columns[i], func(t *testing.T) {
						x := s.table().Explain(&s.host, s.packet("", from+" > "+to[i]))
						got := ""
						for _, a := range x.Answers {
							got += map[bool]string{true: "L", false: "R"}[a.Local]
						}
						got += map[bool]string{true: "m", false: "-"}[len(x.Answers) > 0 && x.Answers[0].Masquerade]
						if got != want {
							t.Errorf("got %s, want %s: %v", got, want, x.String())
						}
					})
				}
			}
		})
	}
}
