package source

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// schedulerAnnotation selects the scheduler of a Service, by its name in IPVS.
const schedulerAnnotation = "signpost.dev/scheduler"

// The API's default and maximum timeout of sessionAffinity, in seconds.
const (
	defaultAffinity = 10800
	longestAffinity = 86400
)

// nobody4 and nobody6 are networks that no packet comes from.
var nobody4, nobody6 = netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("::/128")

// isLocalPolicy parses a traffic policy; empty means the API's default.
func (f *findings) isLocalPolicy(policy, field string) bool {
	if policy != "" && policy != "Cluster" && policy != "Local" {
		f.add(policy, wantTrafficPolicy, field)
	}
	return policy == "Local"
}

// policy converts the fields that restrict or shape the access to a Service.
func (f *findings) policy(s *corev1.Service) cluster.Policy {
	p := cluster.Policy{
		Sources: f.sourceRanges(s.Spec.LoadBalancerSourceRanges), Affinity: f.affinity(&s.Spec),
		Scheduler: f.scheduler(s.Annotations[schedulerAnnotation]),
	}
	if n := s.Spec.HealthCheckNodePort; n < 0 || n > 65535 {
		f.add(strconv.Itoa(int(n)), wantNodePort, "spec.healthCheckNodePort")
	} else {
		p.HealthCheckPort = uint16(n)
	}
	return p
}

// schedulers are those of Linux. IPVS loads a kernel module by this name, and plans and logs
// contain it, so all other values are rejected.
const schedulers = "rr wrr lc wlc lblc lblcr sh dh sed nq fo ovf mh twos"

// scheduler parses the annotation; empty means the default of the mode.
func (f *findings) scheduler(s string) string {
	for known := range strings.FieldsSeq(schedulers) {
		if s == known {
			return known
		}
	}
	if s != "" {
		f.add(s, wantScheduler, "metadata.annotations["+schedulerAnnotation+"]")
	}
	return ""
}

// sourceRanges parses spec.loadBalancerSourceRanges. An invalid range becomes a network
// without clients: an invalid list must not allow more than a valid one.
func (f *findings) sourceRanges(list []string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range bounded(f, list, mostRanges, wantFewRanges, "spec.loadBalancerSourceRanges") {
		p, ok := parsePrefix(text)
		if !ok {
			f.add(text, wantSourceRange, at("spec.loadBalancerSourceRanges", i))
			p = nobody4
			if !slices.Contains(out, nobody6) {
				out = append(out, nobody6)
			}
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return slices.Clip(out)
}

// affinity returns the timeout of spec.sessionAffinity in seconds; 0 means None.
func (f *findings) affinity(spec *corev1.ServiceSpec) uint32 {
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone, "":
		return 0
	case corev1.ServiceAffinityClientIP:
	default:
		f.add(string(spec.SessionAffinity), wantAffinity, "spec.sessionAffinity")
		return 0
	}
	if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		if n := *c.ClientIP.TimeoutSeconds; n > 0 && n <= longestAffinity {
			return uint32(n)
		}
		f.add(strconv.Itoa(int(*c.ClientIP.TimeoutSeconds)), wantTimeout, "spec.sessionAffinityConfig.clientIP.timeoutSeconds")
	}
	return defaultAffinity
}

// parsePrefix parses a network as the API does: see parseAddr.
func parsePrefix(s string) (netip.Prefix, bool) {
	text, bits, slash := strings.Cut(strings.TrimSpace(s), "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		a, err = netip.ParseAddr(withoutLeadingZeros(text))
	}
	n, err2 := strconv.ParseUint(bits, 10, 8)
	if err != nil || err2 != nil || !slash || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	if a.Is4In6() && n >= 96 {
		a, n = a.Unmap(), n-96
	}
	p, err := a.Prefix(int(n))
	return p, err == nil
}
