package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Name returns the name of this machine's Node object: override, or else the machine's
// own name in the form that kubelets register.
func Name(override string) (string, error) {
	name := override
	if strings.TrimSpace(name) == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("find this node's name: %w; set --hostname-override", err)
		}
	}
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" {
		return "", errors.New("find this node's name: the machine has none; set --hostname-override")
	}
	return name, nil
}
