package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
)

// Running is what the forwarder of this machine shows of itself.
type Running struct {
	Config []byte            // the configuration in force, as JSON
	Flags  map[string]string // the value of each flag
}

// Ask asks the forwarder whose metrics are served at an address. trust says why the process at the other end of
// a connection is not to be believed.
func Ask(ctx context.Context, addr string, trust func(net.Conn) error) (Running, error) {
	body, err := askPage(ctx, addr, "/configz", trust)
	if err != nil {
		return Running{}, err
	}
	var shown map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &shown); err != nil || shown[configName] == nil {
		return Running{}, fmt.Errorf("read /configz at %s: expected JSON with the key %s", addr, configName)
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
		err = fmt.Errorf("get %s at %s: another program answers", page, addr)
	}
	return body, err
}
