package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane"
)

// capable is a driver of a node that can do a mode or cannot.
type capable struct {
	dataplane.Driver
	can bool
}

func (n capable) Probe() error {
	if n.can {
		return nil
	}
	return errors.New("this kernel cannot")
}

// TestChoose chooses on nodes that can do different things.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name, args  string
		can         map[string]bool
		want, wrong string
	}{
		{"the best", "", map[string]bool{"nftables": true, "iptables": true}, "nftables", ""},
		{"the next", "--proxy-mode=auto", map[string]bool{"iptables": true}, "iptables", ""},
		{"none", "", nil, "", "mode nftables: this kernel cannot\nmode iptables: this kernel cannot"},
		{"the one that is named", "--proxy-mode=iptables", map[string]bool{"nftables": true, "iptables": true}, "iptables", ""},
		{"never ipvs unless it is named", "", map[string]bool{"ipvs": true}, "", "mode nftables: this kernel cannot\nmode iptables: this kernel cannot"},
		{"ipvs", "--proxy-mode=ipvs", map[string]bool{"nftables": true, "ipvs": true}, "ipvs", ""},
		{"the one that is named, and cannot", "--proxy-mode=nftables", map[string]bool{"iptables": true}, "", "mode nftables: this kernel cannot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			loaded, err := config.Load(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			log := slog.New(slog.NewTextHandler(t.Output(), nil))
			list := modes(loaded, log, nil)
			for i, m := range list {
				list[i].Driver = capable{m.Driver, c.can[m.Name]}
			}
			m, err := choose(list, loaded, log)
			if c.wrong != "" {
				if err == nil || err.Error() != c.wrong {
					t.Fatalf("error %q, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || m.Name != c.want || string(loaded.Wire.Mode) != c.want {
				t.Errorf("%s, %s in the configuration, %v; want %s", m.Name, loaded.Wire.Mode, err, c.want)
			}
		})
	}
}
