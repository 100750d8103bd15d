package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// gate describes the effect of one of kube-proxy's feature gates.
type gate struct {
	unused string // why it has no effect; empty: it has one
	off    string // why false has no effect; empty: it has one. True is the built-in behavior
	// refuse returns the accepted values if a value requests routes or answers that
	// Signpost does not support; "" accepts the value. Nil accepts both.
	refuse func(on bool, mode v1alpha1.ProxyMode) string
}

// AllowExternalIPs is the gate that enables Service.spec.externalIPs.
const AllowExternalIPs = "AllowServiceExternalIPs"

// localhostGate is the gate that lets nftables mode serve NodePorts on loopback addresses. If it is not set,
// it is on if nodePortAddresses names them.
const localhostGate = "KubeProxyNFTablesLocalhostNodePorts"

// nftablesGate is the gate that enables nftables mode.
const nftablesGate = "NFTablesProxyMode"

// Reasons why a gate has no effect.
const (
	oneByOne    = "each gate is evaluated individually"
	noPage      = "the page does not exist"
	byServer    = "it depends on the API server"
	elsewhere   = "kube-proxy does not use them"
	distributed = "hints in EndpointSlices are always followed, and a control plane with the gate off writes none"
)

// gatesOfProxy lists the gates that kube-proxy 1.30 to 1.37 and its libraries use.
var gatesOfProxy = map[string]gate{
	AllowExternalIPs: {},
	"KubeProxyIPVS": {refuse: func(on bool, mode v1alpha1.ProxyMode) string {
		if !on && mode == ModeIPVS {
			return "true, or a mode other than ipvs"
		}
		return ""
	}},
	nftablesGate: {refuse: func(on bool, mode v1alpha1.ProxyMode) string { // of auto it leaves iptables: see setMode
		if !on && mode == ModeNFTables {
			return "true, or mode iptables or ipvs"
		}
		return ""
	}},

	"TopologyAwareHints":                {off: distributed},
	"ServiceTrafficDistribution":        {off: distributed},
	"PreferSameTrafficDistribution":     {off: distributed},
	"LoadBalancerIPMode":                {off: "an ipMode of Proxy is always honoured"},
	"KubeProxyDrainingTerminatingNodes": {off: "/healthz always reports a node that is about to be deleted"},

	"AllAlpha":                  {unused: oneByOne},
	"AllBeta":                   {unused: oneByOne},
	localhostGate:               {}, // see unrelayed
	"NFTablesNetlink":           {unused: "rules are always read and written by netlink"},
	"MultiCIDRServiceAllocator": {unused: byServer},
	"WinDSR":                    {unused: forWindows},
	"WinOverlay":                {unused: forWindows},
	"ComponentFlagz":            {unused: noPage},
	"ComponentSLIs":             {unused: noPage},
	"ComponentStatusz":          {unused: noPage},
	"ContextualLogging":         {unused: logLines},
	"LoggingAlphaOptions":       {unused: logLines},
	"LoggingBetaOptions":        {unused: logLines},
	"LoggingStableOptions":      {unused: logLines},
	"NativeHistograms":          {unused: "histograms have fixed buckets"},
}

// named returns the mode that a configuration requests. Without the gate of nftables mode, auto means
// iptables mode.
func named(w *v1alpha1.KubeProxyConfiguration) v1alpha1.ProxyMode {
	mode := cmp.Or(w.Mode, ModeAuto)
	if on, said := w.FeatureGates[nftablesGate]; mode == ModeAuto && said && !on {
		return ModeIPTables
	}
	return mode
}

// gates checks the feature gates. As in kube-proxy, an unknown gate is an error, because it may
// disable something.
func (k *checker) gates(w *v1alpha1.KubeProxyConfiguration) {
	for _, name := range slices.Sorted(maps.Keys(w.FeatureGates)) {
		on := w.FeatureGates[name]
		g, known := gatesOfProxy[name]
		want := ""
		switch {
		case !known && !isOtherGate(name):
			want = "a feature gate of Kubernetes 1.30 to 1.37"
		case g.refuse != nil:
			want = g.refuse(on, w.Mode)
		}
		if want != "" {
			k.wrong("featureGates["+name+"]", on, want)
		}
	}
}

func isOtherGate(name string) bool { return slices.Contains(strings.Fields(otherGates), name) }

// gateNotes returns notes for gates without effect.
func gateNotes(set map[string]bool) []string {
	var notes, others []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		g, known := gatesOfProxy[name]
		switch {
		case !known:
			others = append(others, name)
		case g.unused != "":
			notes = append(notes, fmt.Sprintf("featureGates[%s] has no effect: %s", name, g.unused))
		case g.off != "" && !set[name]:
			notes = append(notes, fmt.Sprintf("featureGates[%s]=false has no effect: %s", name, g.off))
		}
	}
	if len(others) > 0 {
		notes = append(notes, fmt.Sprintf("featureGates[%s] has no effect: %s", strings.Join(others, ", "), elsewhere))
	}
	return notes
}

// externalIPs reports whether the gates allow external IPs. The default is true.
func externalIPs(set map[string]bool) bool {
	on, said := set[AllowExternalIPs]
	return on || !said
}
