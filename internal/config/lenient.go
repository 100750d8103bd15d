package config

import (
	"fmt"
	"slices"
	"strings"
)

// former are fields that no KubeProxyConfiguration v1alpha1 has today and that configurations in use have
// nevertheless, with the reason why each has no effect.
var former = map[string]string{
	"udpIdleTimeout":     "it was of kube-proxy's userspace mode; conntrack.udpTimeout says how long UDP flows are tracked",
	"resourceContainer":  "no kube-proxy moves itself into a container of this name any more",
	"conntrack.max":      "conntrack.maxPerCore and conntrack.min say how many connections are tracked",
	"ipvs.masqueradeAll": "there is no such field; iptables.masqueradeAll counts in mode ipvs",
	"metadata":           "a KubeProxyConfiguration has none; kustomize needs it",
}

// passedOver notes what a strict reader does not accept.
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
		default: // one line for each key that is there twice
			for line := range strings.Lines(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n")) {
				notes = append(notes, strings.TrimSpace(line)+": one of the values has no effect")
			}
		}
	}
	slices.Sort(notes)
	return notes
}

// meant guesses the field that the user meant: one that differs in its case or stands in another section.
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
