package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// Tools are the programs of one backend and family.
type Tools struct{ Iptables, Save, Restore string }

// backends are the two ways to write rules, in the order in which Detect prefers them. A kernel has both.
var backends = []string{"nft", "legacy"}

// Backend is one of backends.
func (t Tools) Backend() string {
	if strings.Contains(t.Iptables, "legacy") {
		return "legacy"
	}
	return "nft"
}

// of gives the tools of a family.
func (t Tools) of(v4 bool) Tools {
	if v4 {
		return t
	}
	six := func(name string) string { return strings.Replace(name, "iptables", "ip6tables", 1) }
	return Tools{six(t.Iptables), six(t.Save), six(t.Restore)}
}

// tools names the programs of a backend.
func tools(backend string) Tools {
	return Tools{"iptables-" + backend, "iptables-" + backend + "-save", "iptables-" + backend + "-restore"}
}

// hints are chains that the kubelet makes by the programs of the node, which may be of
// another backend than those in an image.
var hints = []string{":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY "}

// Detect finds out which backend the node uses: the one in which the kubelet left a hint,
// or else the one that has more rules, or else nft. Both at once would each apply.
func Detect() (Tools, error) {
	var found []Tools
	var missing error
	for _, backend := range backends {
		t := tools(backend)
		if _, err := exec.LookPath(t.Restore); err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		found = append(found, t)
	}
	if len(found) == 0 {
		return Tools{}, fmt.Errorf("find iptables-nft-restore or iptables-legacy-restore (Debian's package iptables; mode nftables needs no program): %w", missing)
	}
	if len(found) == 1 || !legacyUsed(true) { // asking would make its tables, and reading all rules takes long
		return found[0], nil
	}
	best, most := found[0], 0
	for _, t := range found {
		out, err := run(context.Background(), nil, t.Save)
		if err != nil {
			continue // a kernel without legacy tables, for one
		}
		text := string(out)
		for _, h := range hints {
			if strings.Contains(text, h) {
				return t, nil
			}
		}
		if n := strings.Count(text, "\n-A "); n > most {
			best, most = t, n
		}
	}
	return best, nil
}

// legacyUsed reports whether this network namespace has tables of the backend legacy: the
// kernel makes them when they are asked for first.
func legacyUsed(v4 bool) bool {
	file := map[bool]string{true: "/proc/thread-self/net/ip_tables_names", false: "/proc/thread-self/net/ip6_tables_names"}[v4]
	names, err := os.ReadFile(file)
	return err == nil && len(names) > 0
}

// works says whether the kernel has tables for the programs, without reading all rules.
func (t Tools) works() error {
	_, err := run(context.Background(), nil, t.Iptables, "-t", nat, "-S", "PREROUTING")
	return err
}

// denied reports whether a program failed for the rights of this process.
func denied(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "Permission denied") || strings.Contains(err.Error(), "Operation not permitted"))
}

// rights are the capabilities that the programs need: those of legacy open a raw socket.
func (t Tools) rights() string {
	if t.Backend() == "legacy" {
		return "NET_ADMIN, and NET_RAW,"
	}
	return "NET_ADMIN"
}

// Probe says whether this process can use the dataplane here, in the network namespace of
// the calling thread, and why not. It changes nothing that stays.
func Probe() error {
	t, err := Detect()
	if err != nil {
		return err
	}
	if err := t.works(); denied(err) {
		return fmt.Errorf("list rules with the backend %s: %w: expected the capability %s in this network namespace", t.Backend(), err, t.rights())
	} else if err != nil {
		return fmt.Errorf("list rules with the backend %s: %w (%w); mode nftables may work", t.Backend(), err, dataplane.ErrNotSupported)
	}
	// The kernel tries the matches and targets in chains that nothing leads to.
	trial := "*nat\n:SIGNPOST-PROBE - [0:0]\n" +
		"-A SIGNPOST-PROBE -m comment --comment probe -m statistic --mode random --probability 0.5 -j RETURN\n" +
		"-A SIGNPOST-PROBE -m addrtype --src-type LOCAL -m recent --rcheck --seconds 1 --reap --name SIGNPOST-PROBE --rsource -j MARK --set-xmark 0x4000/0x4000\n" +
		"-A SIGNPOST-PROBE -p tcp -j DNAT --to-destination 192.0.2.1:80\nCOMMIT\n"
	if _, err := run(context.Background(), []byte(trial), t.Restore, "--noflush", "--test"); err != nil {
		return fmt.Errorf("try rules with the backend %s: the kernel lacks a module, for example xt_statistic, xt_recent "+
			"or xt_addrtype: %w (%w)", t.Backend(), err, dataplane.ErrNotSupported)
	}
	return nil
}
