package forward

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// kubeProxy is the path of the peer, which test/cluster compiles.
func kubeProxy(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		t.Skipf("the programs of Kubernetes are those of %s, which kube-proxy does not belong to", dir)
	}
	dir, err := goTool("-C", "test/cluster", "run", ".", "where", "cluster")
	path := filepath.Join(dir, "kube-proxy")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		netlab.Skip(t, "no kube-proxy: go -C test/cluster run . build cluster compiles it; "+err.Error())
	}
	return path
}

// startPeer runs kube-proxy in iptables mode and waits until it says that it works.
func (w *town) startPeer(t *testing.T, binary string) *forwarder {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kube-proxy.conf")
	text := fmt.Sprintf("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n"+
		"hostnameOverride: %s\nclusterCIDR: 10.244.0.0/16\nconntrack: {maxPerCore: 0}\nclientConnection: {kubeconfig: %q}\n",
		w.node.Name, w.api.UserKubeconfig(t, "system:kube-proxy", "system:node-proxiers"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	peer := startForwarder(w.main, w.node.Host, binary, "--config="+file)
	peer.becomes(t, "kube-proxy is healthy", "http://127.0.0.1:10256/healthz", func(code int, _ string) bool { return code == 200 })
	return peer
}

// peered goes from kube-proxy's iptables mode to ours and back, and to our nftables mode at last: each takes over
// from the one before while connections are made all the time. The chains are the same ones.
func peered(t *testing.T, w *town) {
	binary := kubeProxy(t)
	w.apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-proxy-as-user}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node-proxier}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:kube-proxy"}]
`)
	// The forwarder's rules stay until kube-proxy has its own; then nobody needs them.
	w.running.Signal(syscall.SIGTERM)
	w.running.ends(t)
	peer := w.startPeer(t, binary)
	w.cleanUp(t)
	w.reaches(t, "a", "b")
	theirs := w.chainNames(t)

	stop := w.keepAsking(t, "a", "b")
	end := func(f *forwarder) {
		f.Signal(syscall.SIGTERM)
		f.ends(t)
	}
	end(peer)
	w.setMode(t, "nftables", "iptables")
	w.start(t)
	w.goesOn(t, "a", "b")
	ours := w.chainNames(t)
	for name := range theirs {
		// Canaries for each family, and one that kube-proxy keeps for kubelets of before.
		if !ours[name] && (strings.HasPrefix(name, "KUBE-SVC-") || strings.HasPrefix(name, "KUBE-SEP-") || strings.HasPrefix(name, "KUBE-EXT-")) {
			t.Errorf("%s of kube-proxy was not taken over: there are %q", name, slices.Sorted(maps.Keys(ours)))
		}
	}

	end(w.running)
	peer = w.startPeer(t, binary)
	w.cleanUp(t) // beside it: only what kube-proxy does not know
	w.goesOn(t, "a", "b")
	if left := w.chainNames(t); left["KUBE-OTHER-PORTS"] || left["KUBE-REJECT"] || !left["KUBE-SERVICES"] {
		t.Errorf("after --cleanup beside kube-proxy there are %q", slices.Sorted(maps.Keys(left)))
	}

	end(peer)
	w.setMode(t, "iptables", "nftables")
	w.start(t)
	eventually(t, "the rules of kube-proxy are gone", func() error {
		return absent(slices.Sorted(maps.Keys(w.chainNames(t))), func(name string) bool {
			return name == "KUBE-SERVICES" || strings.HasPrefix(name, "KUBE-SVC-")
		})
	})
	w.goesOn(t, "a", "b")
	t.Logf("%d connections meanwhile", stop())
}

// cleanUp runs forwarder --cleanup.
func (w *town) cleanUp(t *testing.T) {
	t.Helper()
	if code := startForwarder(t, w.node.Host, w.binary, "--config="+w.config, "--cleanup").ends(t); code != 0 {
		t.Errorf("--cleanup ended with code %d", code)
	}
}

// chainNames are those of iptables mode, of both families.
func (w *town) chainNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for line := range strings.Lines(w.kubeChains(t)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, ":"), " ")
		names[name] = true
	}
	return names
}
