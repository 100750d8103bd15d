package config

import (
	"maps"
	"reflect"
	"slices"
)

// live lists the fields whose change a running forwarder adopts. The other fields determine
// its sockets, its connection to the API or its mode.
var live = []string{
	"bindAddress", "nodePortAddresses", "featureGates",
	"detectLocalMode", "detectLocal.bridgeInterface", "detectLocal.interfaceNamePrefix", "clusterCIDR",
	"nftables.masqueradeAll", "nftables.masqueradeBit",
	"conntrack.maxPerCore", "conntrack.min", "conntrack.tcpEstablishedTimeout", "conntrack.tcpCloseWaitTimeout",
	"conntrack.tcpBeLiberal", "conntrack.udpTimeout", "conntrack.udpStreamTimeout",
}

// Reload loads the configuration again, from the same command line and the current content
// of the file.
func (c *Config) Reload() (*Config, error) { return Load(c.args) }

// Difference returns the paths of the fields that differ between c and a later
// configuration: those that a running process can adopt, and those that need a restart.
// It ignores fields without effect.
func (c *Config) Difference(later *Config) (alive, restart []string) {
	before, now := leaves(c.Wire), leaves(later.Wire)
	for _, path := range slices.Sorted(maps.Keys(effects)) {
		switch {
		case reflect.DeepEqual(before[path], now[path]):
		case slices.Contains(live, path):
			alive = append(alive, path)
		case effects[path].unused == "" || inUse(&later.Wire, path):
			restart = append(restart, path)
		}
	}
	return alive, restart
}
