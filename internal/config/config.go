package config

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// The proxy modes of the type, and the one that is resolved at the start: see Choose.
const (
	ModeAuto     v1alpha1.ProxyMode = "auto"
	ModeNFTables v1alpha1.ProxyMode = "nftables"
	ModeIPTables v1alpha1.ProxyMode = "iptables"
	ModeIPVS     v1alpha1.ProxyMode = "ipvs"
)

// The ways to identify local pods (detectLocalMode).
const (
	LocalClusterCIDR         v1alpha1.LocalMode = "ClusterCIDR"
	LocalNodeCIDR            v1alpha1.LocalMode = "NodeCIDR"
	LocalBridgeInterface     v1alpha1.LocalMode = "BridgeInterface"
	LocalInterfaceNamePrefix v1alpha1.LocalMode = "InterfaceNamePrefix"
)

// Config is the configuration of the user, validated and complete.
type Config struct {
	// Wire is the configuration in its own type, with all defaults: what /configz
	// shows and --write-config-to writes.
	Wire v1alpha1.KubeProxyConfiguration
	// Flags are the settings that no field of the file covers.
	Flags Flags
	// Notes lists settings without effect, each with the reason.
	Notes []string
	// Given reports that the command line says how to route or what: by a file, a folder of manifests or flags.
	Given bool

	args  []string // arguments of Load
	moved []string // fields of the section nftables whose values come from the section iptables: see setMode

	// The following fields are derived from Wire.

	HostnameOverride string     // empty: the machine's name
	BindAddress      netip.Addr // unspecified unless the user names the node's address
	NodePorts        NodePorts
	LocalPods        LocalPods
	MasqueradeAll    bool
	MasqueradeMark   uint32         // one bit
	ExcludeCIDRs     []netip.Prefix // networks with IPVS virtual servers of other programs
	SyncPeriod       time.Duration  // twice this time without a successful sync is unhealthy; in iptables mode also the period of the check of shared chains
	ExternalIPs      bool           // Service.spec.externalIPs is programmed (feature gate AllowServiceExternalIPs)
}

// Flags are the settings that exist on the command line only.
type Flags struct {
	ConfigFile    string
	WriteConfigTo string
	Master        string // address of the API server
	Manifests     string // folder that replaces the API
	Cleanup       bool
	InitOnly      bool
	CutHalfOpen   bool      // removes unanswered TCP connections to removed endpoints
	CountTraffic  []Service // Services whose connections, packets and bytes are counted
	// ProtectedPorts are ports of the nodes that no Service may claim, in addition to OwnPorts.
	ProtectedPorts []Port
	Version        bool
}

// NodePorts selects the addresses of the node that serve NodePorts (nodePortAddresses).
type NodePorts struct {
	Primary bool // the node's own address of each family, from its Node object
	All     bool // every address of the machine except loopback
	// CIDRs selects the addresses inside. A family without any has all its
	// addresses, as in kube-proxy, unless Primary is set.
	CIDRs []netip.Prefix
	// Loopback selects 127.0.0.0/8, for the processes of the node. It applies to iptables mode only, unless
	// iptables.localhostNodePorts is false.
	Loopback bool
	// Relay lists the loopback addresses on which the forwarder itself accepts TCP connections: those that the list
	// names and that have no rules in this mode.
	Relay []netip.Addr
}

// ErrHelp is returned by Load if the user asked for help; Usage returns it.
var ErrHelp = pflag.ErrHelp

// LocalPods configures how traffic from local pods is identified (detectLocalMode). At most one
// field is set; without any, it is not identified.
type LocalPods struct {
	CIDRs     []netip.Prefix // by source address, at most one of each family
	NodeCIDR  bool           // by source address: the podCIDRs of the Node object
	Interface string         // by the incoming interface
	Prefix    string         // by the prefix of that interface's name
}

// Load parses a command line, without the program's name, and the file that it names. The
// error joins all problems.
func Load(args []string) (*Config, error) {
	return loadFrom(args, func(p *parser) (v1alpha1.KubeProxyConfiguration, []string, error) { return p.filed(readFile) })
}

// LoadKept is Load with the text of a configuration instead of the file that the command line names. If the
// command line names no file, it fails like Load.
func LoadKept(args []string, text []byte) (*Config, error) {
	return loadFrom(args, func(p *parser) (v1alpha1.KubeProxyConfiguration, []string, error) {
		return p.filed(func(string) (v1alpha1.KubeProxyConfiguration, []string, error) { return decode(text) })
	})
}

// Of returns the configuration of a running process: the text that it shows and the values of its flags,
// with the source of the objects and the node from the command line of c.
func (c *Config) Of(text []byte, flags map[string]string) (*Config, error) {
	of, err := loadFrom(c.args, func(p *parser) (v1alpha1.KubeProxyConfiguration, []string, error) { return p.running(text, flags) })
	if err == nil {
		of.Notes = nil // the log of that process has them
	}
	return of, err
}

// loadFrom parses a command line. read returns the configuration for the parsed flags.
func loadFrom(args []string, read func(*parser) (v1alpha1.KubeProxyConfiguration, []string, error)) (*Config, error) {
	p := newParser()
	if err := p.flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, ErrHelp
		}
		return nil, flagError(err)
	}
	wire, notes, err := read(p)
	if err != nil {
		return nil, err
	}
	counted, err := readServices("--count-traffic", p.countTraffic)
	if err != nil {
		return nil, err
	}
	p.own.CountTraffic = counted
	if p.own.ProtectedPorts, err = readPorts("--protected-node-ports", p.protectedPorts); err != nil {
		return nil, err
	}
	c := &Config{Wire: wire, Flags: p.own, Notes: notes, Given: p.given(), args: args}
	c.setMode()
	c.Wire.APIVersion, c.Wire.Kind = v1alpha1.SchemeGroupVersion.String(), kind
	if c.Flags.WriteConfigTo != "" {
		return c, nil // as in kube-proxy: written unchecked, checked when it is used
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	c.Notes = slices.Concat(c.Notes, gateNotes(c.Wire.FeatureGates), withoutEffect(&c.Wire), loopbackNotes(&c.Wire, c.NodePorts), c.withoutAPI())
	return c, nil
}

// Usage returns the help text of the flags.
func Usage() string { return newParser().flags.FlagUsages() }

// CommandLine returns the value of each flag, given or default.
func (c *Config) CommandLine() map[string]string {
	p := newParser()
	_ = p.flags.Parse(c.args) // Load parsed the same arguments without an error
	values := map[string]string{}
	p.flags.VisitAll(func(f *pflag.Flag) { values[f.Name] = f.Value.String() })
	return values
}
