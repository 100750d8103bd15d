package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Name is the name of this machine's Node object: what the user says, or else the
// machine's own name in the form that kubelets register.
func Name(override string) (string, error) {
	name := override
	if strings.TrimSpace(name) == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("finding this node's name: %w: name it by --hostname-override", err)
		}
	}
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" {
		return "", errors.New("finding this node's name: the machine has none: name it by --hostname-override")
	}
	return name, nil
}
