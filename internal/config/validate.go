package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// setMode replaces an empty mode with auto. A file without a mode may have values in the
// section iptables, because that is kube-proxy's default. They move to the section nftables
// where that is empty.
func (c *Config) setMode() {
	w := &c.Wire
	w.Mode = named(w)
	if w.Mode == ModeAuto {
		w.NFTables.MasqueradeAll = w.NFTables.MasqueradeAll || w.IPTables.MasqueradeAll
		w.IPTables.MasqueradeAll = false
		if w.NFTables.MasqueradeBit == nil {
			w.NFTables.MasqueradeBit, w.IPTables.MasqueradeBit = w.IPTables.MasqueradeBit, nil
			c.moved = append(c.moved, "masqueradeBit")
		}
		if w.NFTables.SyncPeriod.Duration == syncPeriod {
			w.NFTables.SyncPeriod, w.IPTables.SyncPeriod = w.IPTables.SyncPeriod, w.NFTables.SyncPeriod
			c.moved = append(c.moved, "syncPeriod")
		}
	}
	setPointer(&w.NFTables.MasqueradeBit, masqueradeBit)
	setPointer(&w.IPTables.MasqueradeBit, masqueradeBit)
	setDefault(&w.DetectLocalMode, LocalClusterCIDR)
	if len(w.NodePortAddresses) == 0 && (w.Mode == ModeNFTables || w.Mode == ModeAuto) {
		w.NodePortAddresses = []string{primary}
	}
}

// complete validates the wire form and derives the other fields from it.
func (c *Config) complete() error {
	w := &c.Wire
	k := checker{wire: w, fromFile: c.Flags.ConfigFile != "", moved: c.moved}
	k.mode(w.Mode)
	k.gates(w)
	k.numbers(w)
	k.durations(w)
	k.logging(w)
	k.hostPort("healthzBindAddress", w.HealthzBindAddress)
	k.hostPort("metricsBindAddress", w.MetricsBindAddress)
	c.BindAddress = k.addr("bindAddress", w.BindAddress)
	c.NodePorts = k.nodePorts(w)
	c.LocalPods = k.localPods(w)
	c.ExcludeCIDRs = k.excluded(w)
	if len(k.found) > 0 {
		return errors.Join(k.found...)
	}
	c.HostnameOverride, c.ExternalIPs = w.HostnameOverride, externalIPs(w.FeatureGates)
	switch w.Mode { // settings of other modes are not checked
	case ModeIPTables:
		c.MasqueradeAll, c.MasqueradeMark, c.SyncPeriod = w.IPTables.MasqueradeAll, 1<<*w.IPTables.MasqueradeBit, w.IPTables.SyncPeriod.Duration
	case ModeIPVS:
		c.MasqueradeAll, c.MasqueradeMark, c.SyncPeriod = w.IPTables.MasqueradeAll, 1<<*w.IPTables.MasqueradeBit, w.IPVS.SyncPeriod.Duration
	default:
		c.MasqueradeAll, c.MasqueradeMark, c.SyncPeriod = w.NFTables.MasqueradeAll, 1<<*w.NFTables.MasqueradeBit, w.NFTables.SyncPeriod.Duration
	}
	return nil
}

// In sets the mode if the requested one does not work on this node, and validates its settings.
func (c *Config) In(m v1alpha1.ProxyMode) error {
	c.Wire.Mode = m
	c.setMode()
	return c.complete()
}

// Choose sets the mode if the user left it open. The other settings are the same in every mode.
func (c *Config) Choose(m v1alpha1.ProxyMode) { c.Wire.Mode = m }

// checker collects validation errors.
type checker struct {
	wire     *v1alpha1.KubeProxyConfiguration // nil: the file could not be decoded, and every field counts
	fromFile bool
	moved    []string // see Config.moved
	found    []error
}

// wrong records a field with an invalid value. It names the field or the flag, whichever the user
// wrote. As in kube-proxy, settings of other modes may have any value because they have no effect.
func (k *checker) wrong(field string, value any, want string) {
	path, _, _ := strings.Cut(field, "[")
	if k.wire != nil && ofOneMode(effects[path].unused) && !inUse(k.wire, path) {
		return
	}
	if name, of := strings.CutPrefix(field, "nftables."); of && slices.Contains(k.moved, name) {
		field = "iptables." + name
	}
	if !k.fromFile {
		field = flagOf(field)
	}
	k.found = append(k.found, fmt.Errorf("%s: got %v, want %s", field, value, want))
}

// flagOf returns the flag of a field, which may have an index: nodePortAddresses[1].
func flagOf(field string) string {
	path, _, _ := strings.Cut(field, "[")
	// Some flags for iptables are older than the other modes, and apply to those as well.
	older := strings.Replace(path, "nftables.", "iptables.", 1)
	best := ""
	for flag, to := range fieldOf {
		if (to == path || to == older) && len(flag) > len(best) { // prefers healthz-bind-address to healthz-port
			best = flag
		}
	}
	if best == "" {
		return field
	}
	return "flag --" + best
}

func (k *checker) mode(m v1alpha1.ProxyMode) {
	switch m {
	case ModeNFTables, ModeIPTables, ModeIPVS, ModeAuto:
	default:
		k.wrong("mode", m, "nftables, iptables, ipvs or auto, which selects the first of nftables and iptables that this node supports")
	}
}

// localPods parses how local pods are identified. Settings of other ways may have any value.
func (k *checker) localPods(w *v1alpha1.KubeProxyConfiguration) LocalPods {
	switch w.DetectLocalMode {
	case LocalClusterCIDR:
		return LocalPods{CIDRs: k.clusterCIDRs(w.ClusterCIDR)}
	case LocalNodeCIDR:
		return LocalPods{NodeCIDR: true}
	case LocalBridgeInterface:
		return LocalPods{Interface: k.interfaceName("detectLocal.bridgeInterface", w.DetectLocal.BridgeInterface)}
	case LocalInterfaceNamePrefix:
		return LocalPods{Prefix: k.interfaceName("detectLocal.interfaceNamePrefix", w.DetectLocal.InterfaceNamePrefix)}
	}
	k.wrong("detectLocalMode", w.DetectLocalMode, "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix")
	return LocalPods{}
}

// longestInterface is the kernel's IFNAMSIZ without the terminating zero.
const longestInterface = 15

func (k *checker) interfaceName(field, name string) string {
	if name == "" || len(name) > longestInterface || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == '/' || c > '~' }) {
		k.wrong(field, strconv.Quote(name), fmt.Sprintf("the name of an interface, or the beginning of one: 1 to %d characters", longestInterface))
	}
	return name
}

func (k *checker) numbers(w *v1alpha1.KubeProxyConfiguration) {
	for _, n := range []struct {
		field      string
		value      int32
		least, top int32
	}{
		{"nftables.masqueradeBit", *w.NFTables.MasqueradeBit, 0, 31},
		{"iptables.masqueradeBit", *w.IPTables.MasqueradeBit, 0, 31},
		{"oomScoreAdj", *w.OOMScoreAdj, -1000, 1000},
		{"conntrack.maxPerCore", *w.Conntrack.MaxPerCore, 0, 1<<31 - 1},
		{"conntrack.min", *w.Conntrack.Min, 0, 1<<31 - 1},
		{"clientConnection.burst", w.ClientConnection.Burst, 0, 1<<31 - 1},
	} {
		if n.value < n.least || n.value > n.top {
			k.wrong(n.field, n.value, fmt.Sprintf("a number from %d to %d", n.least, n.top))
		}
	}
}

func (k *checker) durations(w *v1alpha1.KubeProxyConfiguration) {
	for _, d := range []struct {
		field string
		value metav1.Duration
		least time.Duration
		want  string
	}{
		{"nftables.syncPeriod", w.NFTables.SyncPeriod, 1, "a time greater than 0, such as 30s"},
		{"iptables.syncPeriod", w.IPTables.SyncPeriod, 1, "a time greater than 0, such as 30s"},
		{"ipvs.syncPeriod", w.IPVS.SyncPeriod, 1, "a time greater than 0, such as 30s"},
		{"ipvs.tcpTimeout", w.IPVS.TCPTimeout, 0, "a time, such as 15m, or 0 to leave it unchanged"},
		{"ipvs.tcpFinTimeout", w.IPVS.TCPFinTimeout, 0, "a time, such as 2m, or 0 to leave it unchanged"},
		{"ipvs.udpTimeout", w.IPVS.UDPTimeout, 0, "a time, such as 5m, or 0 to leave it unchanged"},
		{"nftables.minSyncPeriod", w.NFTables.MinSyncPeriod, 0, "a time, such as 1s, or 0"},
		{"configSyncPeriod", w.ConfigSyncPeriod, 1, "a time greater than 0, such as 15m"},
		{"conntrack.tcpEstablishedTimeout", *w.Conntrack.TCPEstablishedTimeout, 0, "a time, such as 24h, or 0 to leave it unchanged"},
		{"conntrack.tcpCloseWaitTimeout", *w.Conntrack.TCPCloseWaitTimeout, 0, "a time, such as 1h, or 0 to leave it unchanged"},
		{"conntrack.udpTimeout", w.Conntrack.UDPTimeout, 0, "a time, such as 30s, or 0 to leave it unchanged"},
		{"conntrack.udpStreamTimeout", w.Conntrack.UDPStreamTimeout, 0, "a time, such as 2m, or 0 to leave it unchanged"},
	} {
		if d.value.Duration < d.least {
			k.wrong(d.field, d.value.Duration, d.want)
		}
	}
}

func (k *checker) logging(w *v1alpha1.KubeProxyConfiguration) {
	if f := w.Logging.Format; f != "text" && f != "json" {
		k.wrong("logging.format", strconv.Quote(f), "text or json")
	}
}

// hostPort checks the address of a server; empty disables the server.
func (k *checker) hostPort(field, value string) {
	if value == "" {
		return
	}
	host, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = netip.ParseAddr(host)
	}
	number, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil || number == 0 {
		k.wrong(field, strconv.Quote(value), "an IP address and a port from 1 to 65535, such as 0.0.0.0:10256 or [::]:10256")
	}
}

func (k *checker) addr(field, value string) netip.Addr {
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" {
		k.wrong(field, strconv.Quote(value), "an IP address")
		return netip.Addr{}
	}
	return a.Unmap()
}

// excluded parses the networks with virtual servers of other programs.
func (k *checker) excluded(w *v1alpha1.KubeProxyConfiguration) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range w.IPVS.ExcludeCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			k.wrong(fmt.Sprintf("ipvs.excludeCIDRs[%d]", i), strconv.Quote(s), "a CIDR block such as 192.0.2.0/24")
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

// clusterCIDRs parses one CIDR block, or two of different families.
func (k *checker) clusterCIDRs(value string) []netip.Prefix {
	if value == "" {
		return nil
	}
	const want = "a CIDR block such as 10.244.0.0/16, or one per family separated by a comma"
	var out []netip.Prefix
	for s := range strings.SplitSeq(value, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil || len(out) == 2 || len(out) == 1 && out[0].Addr().Is4() == p.Addr().Is4() {
			k.wrong("clusterCIDR", strconv.Quote(value), want)
			return nil
		}
		out = append(out, p.Masked())
	}
	return out
}
