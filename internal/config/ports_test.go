package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestProtectedPorts(t *testing.T) {
	for _, tt := range []struct{ args, want, wrong string }{
		{"", "[{22 }] [{10256 tcp} {10249 tcp}]", ""},
		{"--protected-node-ports=2222,8472/udp --healthz-bind-address= --metrics-bind-address=127.0.0.1:9000", "[{2222 } {8472 udp}] [{9000 tcp}]", ""},
		{"--protected-node-ports=", "[] [{10256 tcp} {10249 tcp}]", ""},
		{"--protected-node-ports=0", "", `--protected-node-ports: got "0", want a port from 1 to 65535, as in 22 or 8472/udp`},
		{"--protected-node-ports=22/icmp", "", `got "22/icmp", want`},
		{"--protected-node-ports=70000", "", `got "70000", want`},
		{"--protected-node-ports=ssh", "", `got "ssh", want`},
	} {
		c, err := Load(strings.Fields(tt.args))
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%q: error %v, want %q", tt.args, err, tt.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if got := fmt.Sprint(c.Flags.ProtectedPorts, c.OwnPorts()); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.args, got, tt.want)
		}
	}
}
