package source

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// ParseSelector parses a label selector in kubectl's syntax and returns its canonical
// form, which is the same for all selectors with these requirements. An empty text is an
// error: to select everything, omit the selector.
func ParseSelector(text string) (string, error) {
	s, err := labels.Parse(text)
	if err == nil && s.Empty() {
		err = errors.New("it has no requirement")
	}
	if err != nil {
		return "", fmt.Errorf("%w: want a selector like app=web,tier!=test", err)
	}
	return strings.ReplaceAll(s.String(), "==", "="), nil // neither keys nor values contain "=="
}
