package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/kube-proxy/config/v1alpha1"

	"github.com/signpost-dns/signpost/internal/config"
)

// TestChoose chooses on nodes that can do different things.
func TestChoose(t *testing.T) {
	old := modes
	t.Cleanup(func() { modes = old })
	for _, c := range []struct {
		name, args  string
		can         map[v1alpha1.ProxyMode]bool
		want, wrong string
	}{
		{"the best", "", map[v1alpha1.ProxyMode]bool{"nftables": true, "iptables": true}, "nftables", ""},
		{"the next", "--proxy-mode=auto", map[v1alpha1.ProxyMode]bool{"iptables": true}, "iptables", ""},
		{"none", "", nil, "", "mode nftables: this kernel cannot\nmode iptables: this kernel cannot"},
		{"the one that is named", "--proxy-mode=iptables", map[v1alpha1.ProxyMode]bool{"nftables": true, "iptables": true}, "iptables", ""},
		{"never ipvs unless it is named", "", map[v1alpha1.ProxyMode]bool{"ipvs": true}, "", "mode nftables: this kernel cannot\nmode iptables: this kernel cannot"},
		{"ipvs", "--proxy-mode=ipvs", map[v1alpha1.ProxyMode]bool{"nftables": true, "ipvs": true}, "ipvs", ""},
		{"the one that is named, and cannot", "--proxy-mode=nftables", map[v1alpha1.ProxyMode]bool{"iptables": true}, "", "mode nftables: this kernel cannot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			modes = nil
			for _, m := range old {
				m.probe = func(*config.Config) error {
					if c.can[m.name] {
						return nil
					}
					return errors.New("this kernel cannot")
				}
				modes = append(modes, m)
			}
			loaded, err := config.Load(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			m, err := choose(loaded, slog.New(slog.NewTextHandler(t.Output(), nil)))
			if c.wrong != "" {
				if err == nil || err.Error() != c.wrong {
					t.Fatalf("error %q, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || string(m.name) != c.want || string(loaded.Wire.Mode) != c.want {
				t.Errorf("%s, %s in the configuration, %v; want %s", m.name, loaded.Wire.Mode, err, c.want)
			}
		})
	}
}
