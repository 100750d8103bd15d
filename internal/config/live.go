package config

import (
	"maps"
	"reflect"
	"slices"
)

// live are the fields whose change a running forwarder takes over. The others are about
// what it is made of: its sockets, its connection, its mode.
var live = []string{
	"bindAddress", "nodePortAddresses", "featureGates",
	"detectLocalMode", "detectLocal.bridgeInterface", "detectLocal.interfaceNamePrefix", "clusterCIDR",
	"nftables.masqueradeAll", "nftables.masqueradeBit",
	"conntrack.maxPerCore", "conntrack.min", "conntrack.tcpEstablishedTimeout", "conntrack.tcpCloseWaitTimeout",
	"conntrack.tcpBeLiberal", "conntrack.udpTimeout", "conntrack.udpStreamTimeout",
}

// Reload reads again what c was loaded from: the same command line, and the file as it is
// now.
func (c *Config) Reload() (*Config, error) { return Load(c.args) }

// Difference tells which fields of the file differ between c and a later one, by their
// paths: those that can be taken over, and those for which the process must start again.
// What has no effect differs in nothing.
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
