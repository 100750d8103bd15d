package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Port is a port of a node.
type Port struct {
	Number   uint16
	Protocol string // tcp, udp or sctp; empty: each
}

// readPorts parses the value of a flag.
func readPorts(flag string, list []string) ([]Port, error) {
	var out []Port
	for _, text := range list {
		number, protocol, named := strings.Cut(text, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || named && !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return nil, fmt.Errorf("%s: got %q, want a port from 1 to 65535, as in 22 or 8472/udp", flag, text)
		}
		out = append(out, Port{uint16(n), protocol})
	}
	return out, nil
}

// OwnPorts returns the ports on which the forwarder itself listens.
func (c *Config) OwnPorts() []Port {
	var out []Port
	for _, address := range []string{c.Wire.HealthzBindAddress, c.Wire.MetricsBindAddress} {
		_, port, err := net.SplitHostPort(address) // checked before; an error means that it is empty
		if n, parseErr := strconv.ParseUint(port, 10, 16); err == nil && parseErr == nil {
			out = append(out, Port{uint16(n), "tcp"})
		}
	}
	return out
}
