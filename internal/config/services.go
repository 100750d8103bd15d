package config

import (
	"fmt"
	"regexp"
	"strings"
)

// Service names a Service; either part may be "*", which stands for all.
type Service struct{ Namespace, Name string }

// label is what names of namespaces and Services are (RFC 1035 and, of the first character,
// RFC 1123: newer clusters let a Service's name begin with a digit).
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// readServices reads the value of a flag.
func readServices(flag string, list []string) ([]Service, error) {
	var out []Service
	for _, text := range list {
		namespace, name, both := strings.Cut(text, "/")
		for _, part := range []string{namespace, name} {
			if part != "*" && !label.MatchString(part) {
				both = false
			}
		}
		if !both {
			return nil, fmt.Errorf("%s: %q: expected NAMESPACE/NAME, either of which may be *, as in shop/web or shop/*", flag, text)
		}
		out = append(out, Service{namespace, name})
	}
	return out, nil
}
