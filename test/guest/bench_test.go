package guest_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/test/guest"
)

var (
	large = flag.Bool("large", false, "let kube-proxy run at every size")
	side  = flag.String("side", ".", "measure one of both alone: forwarder or kube-proxy")
)

// BenchmarkIPVS measures the forwarder in mode ipvs beside kube-proxy in the same, and prints the table. In an
// emulated machine all takes ten times as long as elsewhere: what counts is the ratio.
//
//	go -C test/cluster run . build cluster    # kube-proxy, once
//	go test ./test/guest -run '^$' -bench IPVS -timeout 2h
//	go test ./test/guest -run '^$' -bench 'IPVS/^1000×5$'
//
// With -large kube-proxy runs at 10,000 Services too, which takes it an hour: it starts a process for each entry of
// its ipsets.
func BenchmarkIPVS(b *testing.B) {
	for _, size := range []string{"1000×5", "10000×5"} {
		b.Run(size, func(b *testing.B) { benchmarkIPVS(b, size) })
	}
}

func benchmarkIPVS(b *testing.B, size string) {
	modules, trees := xtables(b)
	test := guest.Test{
		Package: "github.com/signpost-dns/signpost/test/bench/forwarder",
		Args: []string{
			"-test.run=^$", "-test.bench=Forwarder/^" + size + "$/" + *side, "-test.benchtime=1x", "-test.timeout=3h", "-test.v", "-mode=ipvs", "-forwarder=/test/forwarder",
		},
		Builds: map[string]string{"/test/forwarder": "github.com/signpost-dns/signpost/cmd/forwarder"},
		Trees:  trees,
		// What kube-proxy calls.
		Programs: []string{"ipset", "iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"},
		Modules: slices.Concat(ipvsModules, modules, []string{
			"xt_set", "ip_set_hash_ip", "ip_set_hash_ipportip", "ip_set_hash_ipportnet", "ip_set_hash_net", "ip_set_bitmap_port",
		}),
		MiB: 6144,
	}
	if *large {
		test.Args = append(test.Args, "-large")
	}
	if file := findKubeProxy(); file != "" {
		test.Args = append(test.Args, "-kube-proxy=/test/kube-proxy")
		maps.Copy(test.Trees, map[string]string{"/test/kube-proxy": file})
	}
	if code := run(b, test, 3*time.Hour, os.Stdout); code != 0 {
		b.Errorf("the test binary ended with exit code %d in the guest", code)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIPVSChange measures what one change costs the dataplane alone, with no watch before it.
//
//	go test ./test/guest -run '^$' -bench IPVSChange
func BenchmarkIPVSChange(b *testing.B) {
	test := guest.Test{
		Package:  "github.com/signpost-dns/signpost/internal/dataplane/ipvs",
		Args:     []string{"-test.run=^$", "-test.bench=^BenchmarkChange$", "-test.benchtime=100x"},
		Programs: ipvsPrograms,
		Modules:  ipvsModules,
		MiB:      2048,
	}
	if code := run(b, test, time.Hour, os.Stdout); code != 0 {
		b.Errorf("the test binary ended with exit code %d in the guest", code)
	}
	b.ReportMetric(0, "ns/op")
}

// findKubeProxy finds the kube-proxy that test/cluster has built, or "".
func findKubeProxy() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	found, _ := filepath.Glob(filepath.Join(cache, "signpost", "k8s-*", "kube-proxy"))
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}
