package config

import (
	"fmt"
	"slices"
	"strings"
)

// former lists fields that KubeProxyConfiguration v1alpha1 no longer has and that configurations in use
// still contain, with the reason why each has no effect.
var former = map[string]string{
	"udpIdleTimeout":     "it belonged to kube-proxy's userspace mode; conntrack.udpTimeout sets the timeout of UDP flows",
	"resourceContainer":  "kube-proxy no longer moves itself into a container of this name",
	"conntrack.max":      "conntrack.maxPerCore and conntrack.min set the limit of tracked connections",
	"ipvs.masqueradeAll": "the field does not exist; iptables.masqueradeAll applies in ipvs mode",
	"metadata":           "a KubeProxyConfiguration has none; kustomize needs it",
}

// passedOver returns notes for what a strict decoder rejects.
func passedOver(found []error) []string {
	var notes []string
	for _, err := range found {
		path, unknown := strings.CutPrefix(err.Error(), `unknown field "`)
		path = strings.TrimSuffix(path, `"`)
		switch {
		case unknown && former[path] != "":
			notes = append(notes, fmt.Sprintf("%s has no effect: %s", path, former[path]))
		case unknown:
			notes = append(notes, fmt.Sprintf("%s has no effect: KubeProxyConfiguration v1alpha1 has no such field%s", path, meant(path)))
		default: // one line for each duplicate key
			for line := range strings.Lines(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n")) {
				notes = append(notes, strings.TrimSpace(line)+": one of the values has no effect")
			}
		}
	}
	slices.Sort(notes)
	return notes
}

// meant suggests the field that the user may have meant: one that differs in case or is in another section.
func meant(path string) string {
	name := path[strings.LastIndex(path, ".")+1:]
	var same []string
	for known := range effects {
		if strings.EqualFold(known, path) {
			return "; " + known + " is one"
		}
		if known == name || strings.HasSuffix(known, "."+name) {
			same = append(same, known)
		}
	}
	if len(same) == 0 {
		return ""
	}
	slices.Sort(same)
	return "; " + strings.Join(same, ", ") + map[bool]string{true: " is one", false: " are"}[len(same) == 1]
}
