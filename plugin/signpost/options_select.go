package signpost

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// selectOptions say which objects of the source have names. What they leave out
// is never read, so it takes no memory and needs no rights.
var selectOptions = []option{
	{"namespaces", "NAMESPACE...", 1, many, setNamespaces, nil},
	{"namespace_labels", "a selector such as team=dns,stage!=test", 1, many, setNamespaceLabels, checkNamespaceLabels},
	{"labels", "a selector such as app=web,tier!=test", 1, many, setLabels, nil},
}

// setNamespaces adds to those of other lines. They are kept sorted, so that stanzas
// which name the same ones share a feed.
func setNamespaces(s *stanza, args []string) error {
	names := append(strings.Fields(s.feed.namespaces), args...)
	for _, name := range names {
		if !isNamespace(name) {
			return fmt.Errorf("want names of namespaces (lower-case letters, digits and inner dashes, at most 63); not %q", name)
		}
	}
	slices.Sort(names)
	s.feed.namespaces = strings.Join(slices.Compact(names), " ")
	return nil
}

// isNamespace reports whether the API could have a namespace of that name (RFC 1123
// label, in lower case).
func isNamespace(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func setNamespaceLabels(s *stanza, args []string) (err error) {
	s.feed.namespaceLabels, err = parseSelector(strings.Join(args, " "))
	return err
}

func checkNamespaceLabels(s *stanza) error {
	if s.feed.namespaces != "" {
		return errors.New("want it or namespaces, not both")
	}
	return nil
}

func setLabels(s *stanza, args []string) (err error) {
	s.feed.labels, err = parseSelector(strings.Join(args, " "))
	return err
}
