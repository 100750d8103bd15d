package config

import (
	"fmt"
	"regexp"
	"strings"
)

// Service names a Service; either part may be "*", which matches all.
type Service struct{ Namespace, Name string }

// label matches names of namespaces and Services (RFC 1035, with the first character of
// RFC 1123: newer clusters allow names of Services that begin with a digit).
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// readServices parses the value of a flag.
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
			return nil, fmt.Errorf("%s: got %q, want NAMESPACE/NAME, either of which may be *, as in shop/web or shop/*", flag, text)
		}
		out = append(out, Service{namespace, name})
	}
	return out, nil
}
