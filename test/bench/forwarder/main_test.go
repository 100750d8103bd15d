// Package forwarder measures cmd/forwarder beside kube-proxy in the same mode: whole
// processes, each in the network namespace of a node of its own, fed by the same API and
// judged by packets.
//
//	go -C test/cluster run . build cluster    # kube-proxy, once
//	go test ./test/bench/forwarder -run '^$' -bench . -timeout 2h
//	go test ./test/bench/forwarder -run '^$' -bench 'Forwarder/^10000×5$'
//	go test ./test/bench/forwarder -run '^$' -bench . -mode iptables
//	go test ./test/guest -run '^$' -bench IPVS -timeout 2h    # -mode ipvs, on a kernel that has it
//
// The table at the end has both and the ratio. With -large kube-proxy is also asked to
// do what takes it many minutes. On a machine that others use, processor times and
// ratios count, not the time that passes.
package forwarder

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

var (
	large = flag.Bool("large", false, "let kube-proxy run at every size")
	mode  = flag.String("mode", nftables, "mode of both: nftables, ipvs or iptables; the latter by the programs that this machine calls iptables")

	// For where there is no compiler.
	ourFile   = flag.String("forwarder", "", "the forwarder to measure; otherwise it is compiled")
	theirFile = flag.String("kube-proxy", "", "the kube-proxy to measure; otherwise the one that test/cluster built")
)

const nftables, iptables, ipvs = "nftables", "iptables", "ipvs"

// sizes are those that a mode is measured at.
var sizes = map[string][]size{
	nftables: {{1000, 5}, {10000, 5}, {50000, 5}, {10000, 25}},
	iptables: {{1000, 5}, {5000, 5}},
	ipvs:     {{1000, 5}, {10000, 5}},
}

const (
	ours   = "forwarder"
	theirs = "kube-proxy"
)

func TestMain(m *testing.M) {
	netlab.Init()
	flag.Parse()
	if !netlab.Inside() && *ourFile == "" {
		// What the build needs of a network, while there is one.
		if out, err := exec.Command("go", "list", "-deps", "../../../cmd/forwarder").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			os.Exit(1)
		}
	}
	netlab.Enter()
	code := m.Run()
	printTable()
	os.Exit(code)
}

// buildForwarder compiles ours.
func buildForwarder(tb testing.TB) string {
	tb.Helper()
	if *ourFile != "" {
		return *ourFile
	}
	binary := filepath.Join(tb.TempDir(), ours)
	cmd := exec.Command("go", "build", "-o", binary, "../../../cmd/forwarder")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		tb.Fatalf("building the forwarder: %v\n%s", err, out.String())
	}
	return binary
}

// findKubeProxy finds the kube-proxy that test/cluster has built, or "".
func findKubeProxy() string {
	if *theirFile != "" {
		return *theirFile
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	found, _ := filepath.Glob(filepath.Join(cache, "signpost", "k8s-*", theirs))
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}
