package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// parser holds the flags and the variables that receive their values.
type parser struct {
	flags *pflag.FlagSet
	wire  v1alpha1.KubeProxyConfiguration // values of the flags, on top of the defaults
	own   Flags

	// Flags whose form differs from their field.
	mode, localMode          string
	healthzPort, metricsPort int32
	masqueradeAll            bool
	countTraffic             []string
	protectedPorts           []string
}

// fieldOf maps a flag to its field of the file. Flags that are missing here exist on the
// command line only, or are older forms of other flags.
var fieldOf = map[string]string{
	"feature-gates":                     "featureGates",
	"kubeconfig":                        "clientConnection.kubeconfig",
	"kube-api-content-type":             "clientConnection.contentType",
	"kube-api-burst":                    "clientConnection.burst",
	"kube-api-qps":                      "clientConnection.qps",
	"hostname-override":                 "hostnameOverride",
	"bind-address":                      "bindAddress",
	"healthz-bind-address":              "healthzBindAddress",
	"healthz-port":                      "healthzBindAddress",
	"metrics-bind-address":              "metricsBindAddress",
	"metrics-port":                      "metricsBindAddress",
	"bind-address-hard-fail":            "bindAddressHardFail",
	"profiling":                         "enableProfiling",
	"show-hidden-metrics-for-version":   "showHiddenMetricsForVersion",
	"proxy-mode":                        "mode",
	"masquerade-all":                    "nftables.masqueradeAll",
	"iptables-masquerade-bit":           "iptables.masqueradeBit",
	"iptables-localhost-nodeports":      "iptables.localhostNodePorts",
	"iptables-sync-period":              "iptables.syncPeriod",
	"iptables-min-sync-period":          "iptables.minSyncPeriod",
	"ipvs-sync-period":                  "ipvs.syncPeriod",
	"ipvs-min-sync-period":              "ipvs.minSyncPeriod",
	"ipvs-scheduler":                    "ipvs.scheduler",
	"ipvs-exclude-cidrs":                "ipvs.excludeCIDRs",
	"ipvs-strict-arp":                   "ipvs.strictARP",
	"ipvs-tcp-timeout":                  "ipvs.tcpTimeout",
	"ipvs-tcpfin-timeout":               "ipvs.tcpFinTimeout",
	"ipvs-udp-timeout":                  "ipvs.udpTimeout",
	"detect-local-mode":                 "detectLocalMode",
	"pod-bridge-interface":              "detectLocal.bridgeInterface",
	"pod-interface-name-prefix":         "detectLocal.interfaceNamePrefix",
	"cluster-cidr":                      "clusterCIDR",
	"nodeport-addresses":                "nodePortAddresses",
	"oom-score-adj":                     "oomScoreAdj",
	"conntrack-max-per-core":            "conntrack.maxPerCore",
	"conntrack-min":                     "conntrack.min",
	"conntrack-tcp-timeout-established": "conntrack.tcpEstablishedTimeout",
	"conntrack-tcp-timeout-close-wait":  "conntrack.tcpCloseWaitTimeout",
	"conntrack-tcp-be-liberal":          "conntrack.tcpBeLiberal",
	"conntrack-udp-timeout":             "conntrack.udpTimeout",
	"conntrack-udp-timeout-stream":      "conntrack.udpStreamTimeout",
	"config-sync-period":                "configSyncPeriod",
	"logging-format":                    "logging.format",
	"log-flush-frequency":               "logging.flushFrequency",
	"v":                                 "logging.verbosity",
	"vmodule":                           "logging.vmodule",
	"log-text-split-stream":             "logging.options.text.splitStream",
	"log-text-info-buffer-size":         "logging.options.text.infoBufferSize",
	"log-json-split-stream":             "logging.options.json.splitStream",
	"log-json-info-buffer-size":         "logging.options.json.infoBufferSize",
}

// fileYields lists the flags that apply together with a file: kube-proxy's manifests set the
// node's name by a flag, and people raise the log level where they start a program.
var fileYields = []string{
	"hostname-override", "logging-format", "log-flush-frequency", "v", "vmodule", "log-text-split-stream",
	"log-text-info-buffer-size", "log-json-split-stream", "log-json-info-buffer-size",
}

func newParser() *parser {
	p := &parser{flags: pflag.NewFlagSet("forwarder", pflag.ContinueOnError)}
	setDefaults(&p.wire)
	p.flags.SortFlags = false
	p.flags.SetOutput(io.Discard) // the returned error says it
	p.flags.Usage = func() {}
	p.flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	p.addOwn()
	p.addConnection()
	p.addNode()
	p.addRouting()
	p.addModes()
	p.addConntrack()
	p.addLogging()
	return p
}

func (p *parser) addOwn() {
	f, o := p.flags, &p.own
	f.StringVar(&o.ConfigFile, "config", "", "file with a KubeProxyConfiguration; most flags are ignored if it is set")
	f.StringVar(&o.WriteConfigTo, "write-config-to", "", "write the configuration to this file and exit")
	f.StringVar(&o.Manifests, "manifests", "", "folder of manifests to read instead of an API")
	f.BoolVar(&o.CutHalfOpen, "conntrack-cut-half-open", false, "remove TCP connections to a removed endpoint that never answered, so that the client's next attempt reaches another endpoint "+
		"(connections that bypassed the rules are always removed). Also applies with --config")
	f.StringSliceVar(&p.countTraffic, "count-traffic", nil, "Services whose connections, packets and bytes are counted, as NAMESPACE/NAME, either of which may be *; "+
		"each adds a few series. Also applies with --config")
	f.StringSliceVar(&p.protectedPorts, "protected-node-ports", []string{"22"}, "ports of the nodes that no Service may claim by a NodePort or by an external address that belongs to a node, "+
		"as PORT or PORT/PROTOCOL, in addition to those of the kubelet, the API server and the forwarder. Also applies with --config")
	f.BoolVar(&o.InitOnly, "init-only", false, "set the sysctls, which needs all privileges, and exit; CAP_NET_ADMIN is enough for the rest")
	f.BoolVar(&o.Cleanup, "cleanup", false, "remove all rules from this node, including those of a kube-proxy that does not run, and exit")
	f.BoolVar(&o.Version, "version", false, "print the version and exit")
}

func (p *parser) addConnection() {
	f, c := p.flags, &p.wire.ClientConnection
	f.StringVar(&c.Kubeconfig, "kubeconfig", "", "kubeconfig file with the API server and the credentials")
	f.StringVar(&p.own.Master, "master", "", "URL of the API server, overrides the one in the kubeconfig; must not be an address that the forwarder itself routes")
	f.StringVar(&c.ContentType, "kube-api-content-type", c.ContentType, "no effect")
	f.Int32Var(&c.Burst, "kube-api-burst", c.Burst, "burst of requests to the API")
	f.Float32Var(&c.QPS, "kube-api-qps", c.QPS, "requests to the API per second")
	f.DurationVar(&p.wire.ConfigSyncPeriod.Duration, "config-sync-period", p.wire.ConfigSyncPeriod.Duration, "no effect")
}

func (p *parser) addNode() {
	f, w := p.flags, &p.wire
	f.StringVar(&w.HostnameOverride, "hostname-override", "", "name of this node's Node object; the machine's name if empty. Also applies with --config")
	f.StringVar(&w.BindAddress, "bind-address", w.BindAddress, "address of this node, overrides those of its Node object; nothing listens on it")
	f.StringVar(&w.HealthzBindAddress, "healthz-bind-address", w.HealthzBindAddress, "address and port of /healthz and /livez; empty disables them")
	f.StringVar(&w.MetricsBindAddress, "metrics-bind-address", w.MetricsBindAddress, "address and port of /metrics, /proxyMode, /configz and /debug/table; empty disables them")
	f.Int32Var(&p.healthzPort, "healthz-port", healthzPort, "older form of --healthz-bind-address; 0 disables the pages")
	f.Int32Var(&p.metricsPort, "metrics-port", metricsPort, "older form of --metrics-bind-address; 0 disables the pages")
	f.BoolVar(&w.BindAddressHardFail, "bind-address-hard-fail", false, "exit if a port cannot be bound, instead of retrying")
	f.BoolVar(&w.EnableProfiling, "profiling", false, "serve /debug/pprof on the port of /metrics")
	f.StringVar(&w.ShowHiddenMetricsForVersion, "show-hidden-metrics-for-version", "", "no effect")
	f.Int32Var(w.OOMScoreAdj, "oom-score-adj", *w.OOMScoreAdj, "oom_score_adj of the process, -1000 to 1000")
	f.Var(gates{&w.FeatureGates}, "feature-gates", "feature gates of kube-proxy, such as AllowServiceExternalIPs=false; an unknown one is an error")
}

func (p *parser) addRouting() {
	f, w := p.flags, &p.wire
	f.StringVar(&p.mode, "proxy-mode", "", "dataplane: nftables, iptables, ipvs or auto, which selects the first of nftables and iptables that this node supports (default auto)")
	f.StringSliceVar(&w.NodePortAddresses, "nodeport-addresses", nil, "addresses of the node that serve NodePorts: CIDR blocks, primary, localhost or all (default primary with mode nftables and auto, else all)")
	f.StringVar(&p.localMode, "detect-local-mode", "", "how traffic from local pods is identified: ClusterCIDR (default), NodeCIDR, BridgeInterface or InterfaceNamePrefix")
	f.StringVar(&w.ClusterCIDR, "cluster-cidr", "", "CIDR block of the pods, or one per family separated by a comma")
	f.StringVar(&w.DetectLocal.BridgeInterface, "pod-bridge-interface", "", "interface on which traffic from local pods arrives (only with --detect-local-mode=BridgeInterface)")
	f.StringVar(&w.DetectLocal.InterfaceNamePrefix, "pod-interface-name-prefix", "", "prefix of the names of interfaces on which traffic from local pods arrives (only with --detect-local-mode=InterfaceNamePrefix)")
	f.BoolVar(&p.masqueradeAll, "masquerade-all", false, "masquerade all traffic to cluster IPs")
}

func (p *parser) addModes() {
	f, ipt, ipvs := p.flags, &p.wire.IPTables, &p.wire.IPVS
	ipt.MasqueradeBit = new(int32)
	f.Int32Var(ipt.MasqueradeBit, "iptables-masquerade-bit", masqueradeBit, "bit of the packet mark that requests masquerading, 0 to 31")
	f.BoolVar(ipt.LocalhostNodePorts, "iptables-localhost-nodeports", true, "serve NodePorts on 127.0.0.0/8 as well (only with --proxy-mode=iptables)")
	f.DurationVar(&ipt.SyncPeriod.Duration, "iptables-sync-period", ipt.SyncPeriod.Duration, "period of the check of jumps and shared chains; twice this time without a successful sync is unhealthy")
	f.DurationVar(&ipt.MinSyncPeriod.Duration, "iptables-min-sync-period", ipt.MinSyncPeriod.Duration, "no effect")
	f.DurationVar(&ipvs.SyncPeriod.Duration, "ipvs-sync-period", ipvs.SyncPeriod.Duration, "twice this time without a successful sync is unhealthy (only with --proxy-mode=ipvs)")
	f.DurationVar(&ipvs.MinSyncPeriod.Duration, "ipvs-min-sync-period", ipvs.MinSyncPeriod.Duration, "no effect")
	f.StringVar(&ipvs.Scheduler, "ipvs-scheduler", "", "scheduler for Services without the annotation signpost.dev/scheduler: rr (default), wrr, lc, wlc, sh, dh, sed, nq, mh (only with --proxy-mode=ipvs)")
	f.StringSliceVar(&ipvs.ExcludeCIDRs, "ipvs-exclude-cidrs", nil, "CIDR blocks with virtual servers of other programs (only with --proxy-mode=ipvs)")
	f.BoolVar(&ipvs.StrictARP, "ipvs-strict-arp", false, "answer ARP for an address only on its own interface (only with --proxy-mode=ipvs)")
	f.DurationVar(&ipvs.TCPTimeout.Duration, "ipvs-tcp-timeout", 0, "timeout of idle TCP connections; 0 leaves it unchanged (only with --proxy-mode=ipvs)")
	f.DurationVar(&ipvs.TCPFinTimeout.Duration, "ipvs-tcpfin-timeout", 0, "timeout of TCP connections after a FIN; 0 leaves it unchanged (only with --proxy-mode=ipvs)")
	f.DurationVar(&ipvs.UDPTimeout.Duration, "ipvs-udp-timeout", 0, "timeout of idle UDP flows; 0 leaves it unchanged (only with --proxy-mode=ipvs)")
}

func (p *parser) addConntrack() {
	f, c := p.flags, &p.wire.Conntrack
	f.Int32Var(c.MaxPerCore, "conntrack-max-per-core", *c.MaxPerCore, "maximum number of tracked connections per CPU; 0 leaves the limit unchanged")
	f.Int32Var(c.Min, "conntrack-min", *c.Min, "lower bound for the maximum number of tracked connections")
	f.DurationVar(&c.TCPEstablishedTimeout.Duration, "conntrack-tcp-timeout-established", c.TCPEstablishedTimeout.Duration, "conntrack timeout of idle TCP connections; 0 leaves it unchanged")
	f.DurationVar(&c.TCPCloseWaitTimeout.Duration, "conntrack-tcp-timeout-close-wait", c.TCPCloseWaitTimeout.Duration, "conntrack timeout of half-closed TCP connections; 0 leaves it unchanged")
	f.BoolVar(&c.TCPBeLiberal, "conntrack-tcp-be-liberal", false, "accept TCP packets outside of the window")
	f.DurationVar(&c.UDPTimeout.Duration, "conntrack-udp-timeout", 0, "conntrack timeout of UDP flows without a reply; 0 leaves it unchanged")
	f.DurationVar(&c.UDPStreamTimeout.Duration, "conntrack-udp-timeout-stream", 0, "conntrack timeout of UDP flows with replies; 0 leaves it unchanged")
}

func (p *parser) addLogging() { addLogging(p.flags, &p.wire.Logging) }

func addLogging(f *pflag.FlagSet, l *logsapi.LoggingConfiguration) {
	f.StringVar(&l.Format, "logging-format", l.Format, "text or json")
	f.VarP(logsapi.VerbosityLevelPflag(&l.Verbosity), "v", "v", "log verbosity; 4 and higher log changes of each Service")
	f.DurationVar(&l.FlushFrequency.Duration.Duration, "log-flush-frequency", l.FlushFrequency.Duration.Duration, "no effect")
	f.Var(logsapi.VModuleConfigurationPflag(&l.VModule), "vmodule", "no effect")
	text, json := &l.Options.Text, &l.Options.JSON
	f.BoolVar(&text.SplitStream, "log-text-split-stream", false, "no effect")
	f.Var(&text.InfoBufferSize, "log-text-info-buffer-size", "no effect")
	f.BoolVar(&json.SplitStream, "log-json-split-stream", false, "no effect")
	f.Var(&json.InfoBufferSize, "log-json-info-buffer-size", "no effect")
}

// flagged returns the configuration from flags alone.
func (p *parser) flagged() v1alpha1.KubeProxyConfiguration {
	w := p.wire
	w.Mode, w.DetectLocalMode = v1alpha1.ProxyMode(p.mode), v1alpha1.LocalMode(p.localMode)
	w.Mode = named(&w)
	// As flags, these two apply to every mode, while the file has them per mode.
	if w.Mode == ModeIPTables || w.Mode == ModeIPVS {
		w.IPTables.MasqueradeAll = p.masqueradeAll
	} else {
		w.NFTables.MasqueradeAll = p.masqueradeAll
		w.NFTables.SyncPeriod = w.IPTables.SyncPeriod
		w.IPTables.SyncPeriod.Duration = syncPeriod
	}
	if !p.flags.Changed("iptables-masquerade-bit") {
		w.IPTables.MasqueradeBit = nil
	}
	w.HealthzBindAddress = p.bound("healthz-bind-address", w.HealthzBindAddress, p.healthzPort)
	w.MetricsBindAddress = p.bound("metrics-bind-address", w.MetricsBindAddress, p.metricsPort)
	w.HostnameOverride = hostname(w.HostnameOverride)
	if w.BindAddress == "" { // for example, an empty variable in a service file: kube-proxy uses the default as well
		w.BindAddress = defaultBindAddress
	}
	return w
}

// filed returns the configuration of the file that the flags name, read by read; without a file, that of the flags.
func (p *parser) filed(read func(path string) (v1alpha1.KubeProxyConfiguration, []string, error)) (v1alpha1.KubeProxyConfiguration, []string, error) {
	if p.own.ConfigFile == "" {
		return p.flagged(), nil, nil
	}
	wire, notes, err := read(p.own.ConfigFile)
	if err != nil {
		return wire, nil, err
	}
	setDefaults(&wire)
	p.overrule(&wire)
	return wire, append(notes, p.overruled()...), nil
}

// running returns the configuration of another process, from what that process shows.
func (p *parser) running(text []byte, flags map[string]string) (v1alpha1.KubeProxyConfiguration, []string, error) {
	wire, notes, err := decode(text)
	if err != nil {
		return wire, nil, err
	}
	setDefaults(&wire)
	p.overrule(&wire)
	take := []string{"protected-node-ports"}
	if p.flags.Changed("kubeconfig") {
		wire.ClientConnection.Kubeconfig = p.wire.ClientConnection.Kubeconfig
	} else if !p.flags.Changed("master") {
		take = append(take, "master", "manifests")
	}
	for _, name := range take {
		if value, shown := flags[name]; shown && !p.flags.Changed(name) {
			if err := p.flags.Set(name, strings.Trim(value, "[]")); err != nil {
				return wire, nil, err
			}
		}
	}
	return wire, notes, nil
}

// given returns the value of Config.Given.
func (p *parser) given() (given bool) {
	p.flags.Visit(func(f *pflag.Flag) {
		switch field := fieldOf[f.Name]; {
		case f.Name == "config" || f.Name == "manifests":
			given = true
		case field == "" || field == "clientConnection.kubeconfig" || field == "metricsBindAddress" || slices.Contains(fileYields, f.Name):
		default:
			given = true
		}
	})
	return given
}

// bound applies the older flag for the port alone: it applies if the address has no
// port, and 0 disables the server regardless of the address.
func (p *parser) bound(flag, address string, port int32) string {
	if port == 0 || address == "" {
		return ""
	}
	if host, _, err := net.SplitHostPort(address); err == nil && !p.flags.Changed(flag) {
		address = host
	}
	return withPort(address, int(port))
}

// overrule sets the flags that apply together with a file in the file's configuration.
func (p *parser) overrule(w *v1alpha1.KubeProxyConfiguration) {
	if p.flags.Changed("hostname-override") {
		w.HostnameOverride = p.wire.HostnameOverride
	}
	w.HostnameOverride = hostname(w.HostnameOverride)
	logging := pflag.NewFlagSet("", pflag.ContinueOnError)
	addLogging(logging, &w.Logging)
	logging.VisitAll(func(f *pflag.Flag) {
		if given := p.flags.Lookup(f.Name); given.Changed {
			// The same text was parsed before, so it is valid.
			_ = f.Value.Set(given.Value.String())
		}
	})
}

// overruled returns notes for the flags that a file overrides.
func (p *parser) overruled() []string {
	var notes []string
	p.flags.Visit(func(f *pflag.Flag) {
		if field := fieldOf[f.Name]; field != "" && !slices.Contains(fileYields, f.Name) {
			notes = append(notes, fmt.Sprintf("flag --%s is ignored because --config names a file: set %s there", f.Name, field))
		}
	})
	return notes
}

// hostname converts a name to the form in which kubelets register their nodes.
func hostname(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// Arguments returns the words of a command line that are neither flags nor values of flags. There are none if
// Load rejects the flags.
func Arguments(args []string) []string {
	p := newParser()
	if p.flags.Parse(args) != nil {
		return nil
	}
	return p.flags.Args()
}

// flagError formats a parse error of the command line.
func flagError(err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return fmt.Errorf("flag --%s does not exist (forwarder --help lists the flags)", unknown.GetSpecifiedName())
	}
	if value, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("flag --%s=%s: %w, want a value of type %s",
			value.GetFlag().Name, value.GetValue(), errors.Unwrap(value), value.GetFlag().Value.Type())
	}
	return err
}

// gates parses a map as a flag value: Name=true,Other=false.
type gates struct{ to *map[string]bool }

func (g gates) Set(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		name, state, _ := strings.Cut(strings.TrimSpace(pair), "=")
		on, err := strconv.ParseBool(state)
		if name == "" || err != nil {
			return fmt.Errorf("got %q, want Name=true or Name=false", pair)
		}
		if *g.to == nil {
			*g.to = map[string]bool{}
		}
		(*g.to)[name] = on
	}
	return nil
}

func (g gates) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(*g.to)) {
		pairs = append(pairs, fmt.Sprintf("%s=%v", name, (*g.to)[name]))
	}
	return strings.Join(pairs, ",")
}

func (gates) Type() string { return "Name=true,..." }
