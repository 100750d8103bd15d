package forward

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// switched goes to iptables and back, as an operator does who edits the ConfigMap: the forwarder ends, is started
// again, and nobody notices. Of the mode before nothing stays.
func switched(t *testing.T, w *town) {
	if _, err := exec.LookPath("iptables-nft-restore"); err != nil {
		netlab.Skip(t, err.Error()+" (apt-get install iptables)")
	}
	stop := w.keepAsking(t, "a", "b")
	w.become(t, "nftables", "iptables")
	eventually(t, "the rules of nftables mode are gone", func() error { return absent(w.tables(t), isOurs) })
	if chains := w.kubeChains(t); !strings.Contains(chains, "KUBE-SVC-") {
		t.Errorf("in iptables mode there are only\n%s", chains)
	}
	w.reaches(t, "a", "b")
	w.become(t, "iptables", "nftables")
	eventually(t, "the rules of iptables mode are gone", func() error {
		return absent(strings.Fields(w.kubeChains(t)), func(string) bool { return true })
	})
	w.reaches(t, "a", "b")
	if n := stop(); n == 0 {
		t.Error("nobody asked while the mode changed")
	} else {
		t.Logf("%d connections while the mode changed twice", n)
	}
}

// become changes the mode in the forwarder's configuration; it ends by itself, and the next one starts.
func (w *town) become(t *testing.T, was, mode string) {
	t.Helper()
	w.setMode(t, was, mode)
	w.running.ends(t)
	w.start(t)
	if _, got := w.running.host.Get(t.Context(), "http://127.0.0.1:10249/proxyMode"); got != mode {
		t.Errorf("/proxyMode says %q, want %s", got, mode)
	}
}

// setMode writes another mode into the forwarder's configuration.
func (w *town) setMode(t *testing.T, was, mode string) {
	t.Helper()
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "mode: "+was, "mode: "+mode, 1)
	if changed == string(text) {
		t.Fatalf("the configuration has no mode %s:\n%s", was, text)
	}
	if err := os.WriteFile(w.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// absent is an error if one of the list is what is not to be there.
func absent(list []string, unwanted func(string) bool) error {
	if i := slices.IndexFunc(list, unwanted); i >= 0 {
		return &stillThere{list[i]}
	}
	return nil
}

type stillThere struct{ what string }

func (s *stillThere) Error() string { return s.what + " is still there" }

// isOurs tells a table of ours from those that iptables makes and never removes.
func isOurs(table string) bool { return strings.HasSuffix(table, ": signpost") }

// kubeChains are the chains of iptables mode on the node, of both families and backends.
func (w *town) kubeChains(t *testing.T) string {
	t.Helper()
	var chains strings.Builder
	for _, save := range []string{"iptables-nft-save", "ip6tables-nft-save"} {
		cmd := exec.Command(save)
		var out strings.Builder
		cmd.Stdout = &out
		if err := w.node.Run(cmd); err != nil {
			continue // not installed: nobody made any
		}
		for line := range strings.Lines(out.String()) {
			// The kubelet has this one too; while the kernel routes from 127.0.0.0/8 it keeps others out.
			if strings.HasPrefix(line, ":KUBE-") && !strings.HasPrefix(line, ":KUBE-FIREWALL ") {
				chains.WriteString(line)
			}
		}
	}
	return chains.String()
}
