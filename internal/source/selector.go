package source

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// ParseSelector reads a label selector as kubectl spells it, and returns the one
// spelling that all selectors with these requirements share, so that it can be
// compared. An empty text is an error: who wants everything says nothing.
func ParseSelector(text string) (string, error) {
	s, err := labels.Parse(text)
	if err == nil && s.Empty() {
		err = errors.New("it has no requirement")
	}
	if err != nil {
		return "", fmt.Errorf("%w: want a selector like app=web,tier!=test", err)
	}
	return strings.ReplaceAll(s.String(), "==", "="), nil // no key or value has one of these
}
