package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// gate is what becomes of one of kube-proxy's feature gates.
type gate struct {
	unused string // why it has no effect; empty: it has one
	off    string // why false has no effect; empty: it has one. True is what happens anyway
	// refuse returns what is expected in place of a value that asks for routes or answers that
	// Signpost does not make; "" accepts the value. Nil accepts both.
	refuse func(on bool, mode v1alpha1.ProxyMode) string
}

// AllowExternalIPs is the gate without which Service.spec.externalIPs is not programmed.
const AllowExternalIPs = "AllowServiceExternalIPs"

// localhostGate is the gate without which mode nftables serves no NodePorts on loopback addresses. It is on if
// nodePortAddresses names them and the gate is not set.
const localhostGate = "KubeProxyNFTablesLocalhostNodePorts"

// nftablesGate is the gate without which no node uses mode nftables.
const nftablesGate = "NFTablesProxyMode"

// Why a gate has no effect.
const (
	oneByOne    = "each gate counts by itself here"
	noPage      = "there is no such page"
	byServer    = "it follows from what the API server has"
	elsewhere   = "kube-proxy does not use them"
	distributed = "hints of EndpointSlices are always followed; the control plane writes none where it has the gate off, too"
)

// gatesOfProxy are the gates that kube-proxy 1.30 to 1.37 asks for, its libraries included.
var gatesOfProxy = map[string]gate{
	AllowExternalIPs: {},
	"KubeProxyIPVS": {refuse: func(on bool, mode v1alpha1.ProxyMode) string {
		if !on && mode == ModeIPVS {
			return "true, or another mode than ipvs"
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

// named is the mode that a configuration asks for. Without the gate of mode nftables auto leaves
// mode iptables.
func named(w *v1alpha1.KubeProxyConfiguration) v1alpha1.ProxyMode {
	mode := cmp.Or(w.Mode, ModeAuto)
	if on, said := w.FeatureGates[nftablesGate]; mode == ModeAuto && said && !on {
		return ModeIPTables
	}
	return mode
}

// gates checks the feature gates. As with kube-proxy, a gate that does not exist is an error,
// because it may be one that turns something off.
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

// gateNotes notes the gates that are set and have no effect.
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

// externalIPs reports whether the gates allow them. They do unless they say otherwise.
func externalIPs(set map[string]bool) bool {
	on, said := set[AllowExternalIPs]
	return on || !said
}
