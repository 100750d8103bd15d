package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
)

// Running is what the forwarder on this machine reports about itself.
type Running struct {
	Config []byte            // the active configuration, as JSON
	Flags  map[string]string // value by flag
}

// Ask reads the configuration and flags of the forwarder with metrics at an address. trust returns an error if the
// process at the other end of a connection is not trusted.
func Ask(ctx context.Context, addr string, trust func(net.Conn) error) (Running, error) {
	body, err := askPage(ctx, addr, "/configz", trust)
	if err != nil {
		return Running{}, err
	}
	var shown map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &shown); err != nil || shown[configName] == nil {
		return Running{}, fmt.Errorf("read /configz at %s: got no key %s, want JSON with it", addr, configName)
	}
	r := Running{Config: shown[configName], Flags: map[string]string{}}
	flags, err := askPage(ctx, addr, "/flagz", trust)
	for line := range strings.Lines(flags) {
		if name, value, is := strings.Cut(strings.TrimSpace(line), ": "); is {
			r.Flags[name] = value
		}
	}
	return r, err
}

func askPage(ctx context.Context, addr, page string, trust func(net.Conn) error) (string, error) {
	header, body, err := getPage(ctx, addr, page, trust)
	if err == nil && header.Get("Server") != serverName {
		err = fmt.Errorf("get %s at %s: got an answer of another program, want a forwarder", page, addr)
	}
	return body, err
}
