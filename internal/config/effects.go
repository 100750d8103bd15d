package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// effect describes the effect of a field.
type effect struct {
	unused string // why it has no effect; empty: it has one
	refuse string // which of kube-proxy's values are rejected
}

// Reasons why a field has no effect.
const (
	forIPTables = "it applies to iptables mode"
	forNFTables = "it applies to nftables mode"
	forIPVS     = "it applies to ipvs mode"
	forWindows  = "it applies to Windows"
	atOnce      = "changes are written at once, and those that arrive during a write together after it"
	noResync    = "unchanged objects are not read again"
	protobuf    = "requests to the API always use protobuf"
	logLines    = "each line is written to the standard error at once"
)

// effects lists every field of the type by its path in the file.
var effects = map[string]effect{
	"kind":       {},
	"apiVersion": {},

	"featureGates":                        {}, // each by itself: see gatesOfProxy
	"clientConnection.kubeconfig":         {},
	"clientConnection.acceptContentTypes": {unused: protobuf},
	"clientConnection.contentType":        {unused: protobuf},
	"clientConnection.qps":                {},
	"clientConnection.burst":              {},

	"logging.format":                      {},
	"logging.verbosity":                   {},
	"logging.flushFrequency":              {unused: logLines},
	"logging.vmodule":                     {unused: "there is one level for all"},
	"logging.options.text.splitStream":    {unused: logLines},
	"logging.options.text.infoBufferSize": {unused: logLines},
	"logging.options.json.splitStream":    {unused: logLines},
	"logging.options.json.infoBufferSize": {unused: logLines},

	"hostnameOverride":            {},
	"bindAddress":                 {},
	"healthzBindAddress":          {},
	"metricsBindAddress":          {},
	"bindAddressHardFail":         {},
	"enableProfiling":             {},
	"showHiddenMetricsForVersion": {unused: "no metric is hidden"},

	"mode": {refuse: "kernelspace is Windows"},

	"iptables.masqueradeBit":      {unused: forIPTables}, // except for an empty mode: see setMode
	"iptables.masqueradeAll":      {unused: forIPTables},
	"iptables.localhostNodePorts": {unused: forIPTables},
	"iptables.syncPeriod":         {unused: forIPTables},
	"iptables.minSyncPeriod":      {unused: atOnce},

	"ipvs.syncPeriod":    {unused: forIPVS},
	"ipvs.minSyncPeriod": {unused: atOnce},
	"ipvs.scheduler":     {unused: forIPVS},
	"ipvs.excludeCIDRs":  {unused: forIPVS},
	"ipvs.strictARP":     {unused: forIPVS},
	"ipvs.tcpTimeout":    {unused: forIPVS},
	"ipvs.tcpFinTimeout": {unused: forIPVS},
	"ipvs.udpTimeout":    {unused: forIPVS},

	"nftables.masqueradeBit": {unused: forNFTables},
	"nftables.masqueradeAll": {unused: forNFTables},
	"nftables.syncPeriod":    {unused: forNFTables},
	"nftables.minSyncPeriod": {unused: atOnce},

	"winkernel.networkName":           {unused: forWindows},
	"winkernel.sourceVip":             {unused: forWindows},
	"winkernel.enableDSR":             {unused: forWindows},
	"winkernel.rootHnsEndpointName":   {unused: forWindows},
	"winkernel.forwardHealthCheckVip": {unused: forWindows},

	"detectLocalMode":                 {},
	"detectLocal.bridgeInterface":     {unused: "detectLocalMode is not BridgeInterface"},
	"detectLocal.interfaceNamePrefix": {unused: "detectLocalMode is not InterfaceNamePrefix"},
	"clusterCIDR":                     {},
	"nodePortAddresses":               {}, // each by itself: see loopbackNotes

	"oomScoreAdj":                     {},
	"conntrack.maxPerCore":            {},
	"conntrack.min":                   {},
	"conntrack.tcpEstablishedTimeout": {},
	"conntrack.tcpCloseWaitTimeout":   {},
	"conntrack.tcpBeLiberal":          {},
	"conntrack.udpTimeout":            {},
	"conntrack.udpStreamTimeout":      {},
	"configSyncPeriod":                {unused: noResync},
	"portRange":                       {unused: "it is about kube-proxy's userspace mode of long ago"},
	"windowsRunAsService":             {unused: forWindows},
}

// withoutEffect returns notes for the fields that differ from their defaults without effect.
func withoutEffect(w *v1alpha1.KubeProxyConfiguration) []string {
	given, usual := leaves(*w), leaves(defaulted())
	var notes []string
	for _, path := range slices.Sorted(maps.Keys(effects)) {
		why := effects[path].unused
		if why != "" && !inUse(w, path) && !reflect.DeepEqual(given[path], usual[path]) {
			notes = append(notes, fmt.Sprintf("%s has no effect: %s", path, why))
		}
	}
	return notes
}

// withoutAPI returns notes for the settings of an API connection if a folder of manifests is used.
func (c *Config) withoutAPI() []string {
	var notes []string
	if c.Flags.Manifests == "" {
		return nil
	}
	if c.Wire.ClientConnection.Kubeconfig != "" {
		notes = append(notes, "clientConnection.kubeconfig (flag --kubeconfig) has no effect: --manifests reads a folder instead of the API")
	}
	if c.Flags.Master != "" {
		notes = append(notes, "flag --master has no effect: --manifests reads a folder instead of the API")
	}
	return notes
}

// ofOneMode reports whether a field has no effect because it applies to one mode only.
func ofOneMode(why string) bool { return why == forIPTables || why == forIPVS || why == forNFTables }

// inUse reports whether a field has an effect because of the value of another field.
func inUse(w *v1alpha1.KubeProxyConfiguration, path string) bool {
	switch path {
	case "detectLocal.bridgeInterface":
		return w.DetectLocalMode == LocalBridgeInterface
	case "detectLocal.interfaceNamePrefix":
		return w.DetectLocalMode == LocalInterfaceNamePrefix
	}
	switch effects[path].unused {
	case forIPTables:
		// Both modes use the masquerade settings of this section, as in kube-proxy.
		return w.Mode == ModeIPTables || w.Mode == ModeIPVS && strings.HasPrefix(path, "iptables.masquerade")
	case forIPVS:
		return w.Mode == ModeIPVS
	case forNFTables:
		return w.Mode == ModeNFTables || w.Mode == ModeAuto
	}
	return false
}

// defaulted returns the configuration of an empty file.
func defaulted() v1alpha1.KubeProxyConfiguration {
	var c Config
	setDefaults(&c.Wire)
	c.setMode()
	return c.Wire
}

// leaves returns the fields by their paths in the file, with pointers dereferenced. An empty
// list or map counts as absent.
func leaves(w v1alpha1.KubeProxyConfiguration) map[string]any {
	found := map[string]any{}
	walk("", reflect.ValueOf(w), func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Slice, reflect.Map:
			if v.Len() == 0 {
				found[path] = nil
				return
			}
		}
		found[path] = v.Interface()
	})
	return found
}

// walk calls f for every field of a configuration that is not itself a section: sections
// are structs whose fields have JSON names.
func walk(path string, v reflect.Value, f func(string, reflect.Value)) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || !isGroup(v.Type()) {
		f(path, v)
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		below := path
		if name != "" {
			below = strings.TrimPrefix(path+"."+name, ".")
		}
		walk(below, v.Field(i), f)
	}
}

// isGroup reports whether a type is a section of the configuration. A duration is a
// struct, but one string in the file.
func isGroup(t reflect.Type) bool {
	_, writesItself := reflect.PointerTo(t).MethodByName("UnmarshalJSON")
	return !writesItself
}
