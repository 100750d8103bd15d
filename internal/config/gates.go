package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// gate is what becomes of one of kube-proxy's feature gates.
type gate struct {
	unused string // why it has no effect; empty: it has one
	// refuse returns what is expected in place of a value that asks for routes or answers that
	// Signpost does not make; "" accepts the value. Nil accepts both.
	refuse func(on bool, mode v1alpha1.ProxyMode) string
}

// AllowExternalIPs is the gate without which Service.spec.externalIPs is not programmed.
const AllowExternalIPs = "AllowServiceExternalIPs"

// Why a gate has no effect.
const (
	oneByOne    = "each gate counts by itself here"
	noPage      = "there is no such page"
	byServer    = "it follows from what the API server has"
	elsewhere   = "kube-proxy does not use them"
	distributed = "true: hints of EndpointSlices are always followed"
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
	"NFTablesProxyMode": {refuse: func(on bool, mode v1alpha1.ProxyMode) string {
		if !on && (mode == ModeNFTables || mode == ModeAuto) {
			return "true, or mode iptables or ipvs"
		}
		return ""
	}},
	"KubeProxyNFTablesLocalhostNodePorts": {refuse: func(on bool, mode v1alpha1.ProxyMode) string {
		if on && mode != ModeIPTables && mode != ModeIPVS {
			return "false: NodePorts on loopback addresses are served in mode iptables only"
		}
		return ""
	}},
	"TopologyAwareHints":                {refuse: always(distributed)},
	"ServiceTrafficDistribution":        {refuse: always(distributed)},
	"PreferSameTrafficDistribution":     {refuse: always(distributed)},
	"LoadBalancerIPMode":                {refuse: always("true: an ipMode of Proxy is always honoured")},
	"KubeProxyDrainingTerminatingNodes": {refuse: always("true: /healthz always reports a node that is about to be deleted")},

	"AllAlpha":                  {unused: oneByOne},
	"AllBeta":                   {unused: oneByOne},
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

// always refuses false.
func always(want string) func(bool, v1alpha1.ProxyMode) string {
	return func(on bool, _ v1alpha1.ProxyMode) string {
		if on {
			return ""
		}
		return want
	}
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
