package config

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// The proxy modes of the type, and the one that is settled at the start: see Choose.
const (
	ModeAuto     v1alpha1.ProxyMode = "auto"
	ModeNFTables v1alpha1.ProxyMode = "nftables"
	ModeIPTables v1alpha1.ProxyMode = "iptables"
	ModeIPVS     v1alpha1.ProxyMode = "ipvs"
)

// The ways to tell local pods from others (detectLocalMode).
const (
	LocalClusterCIDR         v1alpha1.LocalMode = "ClusterCIDR"
	LocalNodeCIDR            v1alpha1.LocalMode = "NodeCIDR"
	LocalBridgeInterface     v1alpha1.LocalMode = "BridgeInterface"
	LocalInterfaceNamePrefix v1alpha1.LocalMode = "InterfaceNamePrefix"
)

// Config is everything that the user said, checked and complete.
type Config struct {
	// Wire is the configuration in its own type, with all defaults: what /configz
	// shows and --write-config-to writes.
	Wire v1alpha1.KubeProxyConfiguration
	// Flags are what no field of the file stands for.
	Flags Flags
	// Notes are settings that have no effect, each with the reason.
	Notes []string
	// Given is that the command line says how to route or what: by a file, a folder of manifests or flags.
	Given bool

	args  []string // what Load was called with
	moved []string // fields of the section nftables whose values the user wrote in iptables: see setMode

	// What follows is read from Wire.

	HostnameOverride string     // empty: the machine's name
	BindAddress      netip.Addr // unspecified unless the user names the node's address
	NodePorts        NodePorts
	LocalPods        LocalPods
	MasqueradeAll    bool
	MasqueradeMark   uint32         // one bit
	ExcludeCIDRs     []netip.Prefix // where others' IPVS virtual servers are
	SyncPeriod       time.Duration  // twice this without success is not healthy; of mode iptables also the time between two comparisons of shared chains
	ExternalIPs      bool           // Service.spec.externalIPs is programmed (feature gate AllowServiceExternalIPs)
}

// Flags are the settings that only the command line has.
type Flags struct {
	ConfigFile    string
	WriteConfigTo string
	Master        string // address of the API server
	Manifests     string // folder that stands in for an API
	Cleanup       bool
	InitOnly      bool
	CutHalfOpen   bool      // TCP connections to endpoints that are gone, if they have no answer
	CountTraffic  []Service // whose connections, packets and bytes are counted
	// ProtectedPorts are ports of the nodes that no Service takes, besides OwnPorts.
	ProtectedPorts []Port
	Version        bool
}

// NodePorts says which addresses of the node serve NodePorts (nodePortAddresses).
type NodePorts struct {
	Primary bool // the node's own address of each family, as its Node object has it
	All     bool // every address of the machine that is not a loopback one
	// CIDRs give the addresses inside them. A family without any has all its
	// addresses, as kube-proxy has it, unless Primary is set.
	CIDRs []netip.Prefix
	// Loopback is 127.0.0.0/8, for the processes of the node: iptables mode only, unless
	// iptables.localhostNodePorts is false.
	Loopback bool
	// Relay are the loopback addresses of which the forwarder takes the TCP connections itself: those that the list
	// names and the mode has no rules for.
	Relay []netip.Addr
}

// ErrHelp is returned by Load when the user asked for the flags; Usage has them.
var ErrHelp = pflag.ErrHelp

// LocalPods says how pods are told from others (detectLocalMode). At most one of the
// ways is set; none: they are not told.
type LocalPods struct {
	CIDRs     []netip.Prefix // by source address, at most one of each family
	NodeCIDR  bool           // by source address: the podCIDRs of the Node object
	Interface string         // by the interface that they come in by
	Prefix    string         // by the beginning of the name of that interface
}

// Load reads the flags of a command line, without the program's name, and the file that it
// names. The error joins all that is wrong.
func Load(args []string) (*Config, error) {
	return loadFrom(args, func(p *parser) (v1alpha1.KubeProxyConfiguration, []string, error) { return p.filed(readFile) })
}

// LoadKept is Load with the text of a configuration in place of the file that the command line names. The
// error is that of Load where the command line names none.
func LoadKept(args []string, text []byte) (*Config, error) {
	return loadFrom(args, func(p *parser) (v1alpha1.KubeProxyConfiguration, []string, error) {
		return p.filed(func(string) (v1alpha1.KubeProxyConfiguration, []string, error) { return decode(text) })
	})
}

// Of returns the configuration of a process that runs: the text that it shows and the values of its flags,
// with what the command line of c says about where the objects are and which node is meant.
func (c *Config) Of(text []byte, flags map[string]string) (*Config, error) {
	of, err := loadFrom(c.args, func(p *parser) (v1alpha1.KubeProxyConfiguration, []string, error) { return p.running(text, flags) })
	if err == nil {
		of.Notes = nil // the process has them in its log
	}
	return of, err
}

// loadFrom reads a command line. read returns the configuration that it, with what it names, stands for.
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
		return c, nil // as kube-proxy: written as it is, checked when it is used
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	c.Notes = slices.Concat(c.Notes, gateNotes(c.Wire.FeatureGates), withoutEffect(&c.Wire), loopbackNotes(&c.Wire, c.NodePorts), c.withoutAPI())
	return c, nil
}

// Usage lists the flags.
func Usage() string { return newParser().flags.FlagUsages() }

// CommandLine returns the value of each flag: as it was given, or else its default.
func (c *Config) CommandLine() map[string]string {
	p := newParser()
	_ = p.flags.Parse(c.args) // Load has parsed them before
	values := map[string]string{}
	p.flags.VisitAll(func(f *pflag.Flag) { values[f.Name] = f.Value.String() })
	return values
}
