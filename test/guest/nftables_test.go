package guest_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/test/guest"
)

// network are the modules of the labs and of connection tracking.
var network = []string{"veth", "bridge", "br_netfilter", "nf_conntrack", "nf_nat", "nf_conntrack_netlink", "sctp"}

// TestNFTables plays the packet scenarios on the distribution's kernel, and those of SCTP,
// which few other kernels have, also with faults.
func TestNFTables(t *testing.T) {
	inGuest(t, guest.Test{
		Package: "github.com/signpost-dns/signpost/internal/dataplane/nftables",
		Args:    []string{"-test.v", "-test.run=^TestConformance$/^scenarios$|^TestConformance$/^mutants$/./^sctp$", "-test.timeout=10m"},
		Modules: append([]string{
			"nf_tables", "nft_chain_nat", "nft_nat", "nft_ct", "nft_masq", "nft_numgen", "nft_hash", "nft_fib",
			"nft_fib_ipv4", "nft_fib_ipv6", "nft_reject_ipv4", "nft_reject_ipv6", "nft_reject_inet", "nft_redir", "nft_limit",
		}, network...),
	})
}

// skipped finds the names of tests that were skipped.
var skipped = regexp.MustCompile(`(?m)^ *--- SKIP: (\S+)`)

// inGuest runs a test binary in a guest and fails if a test of it failed, or was skipped and may not be.
func inGuest(t *testing.T, test guest.Test, maySkip ...string) {
	t.Helper()
	var console strings.Builder
	start := time.Now()
	code := run(t, test, 12*time.Minute, &console)
	t.Logf("%v\n%s", time.Since(start).Round(time.Second), &console)
	if code != 0 || !strings.Contains(console.String(), "--- PASS") {
		t.Errorf("the test binary ended with exit code %d in the guest", code)
	}
	for _, name := range skipped.FindAllStringSubmatch(console.String(), -1) {
		if !slices.Contains(maySkip, path.Base(name[1])) {
			t.Errorf("%s was skipped in the guest, which is there so that nothing need be", name[1])
		}
	}
}

// run runs a test binary in a guest, or skips the test. It returns the exit code.
func run(t testing.TB, test guest.Test, limit time.Duration, console io.Writer) int {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("with CI=true nothing is skipped: %v", err)
		}
		t.Skipf("%v (apt-get install qemu-system-x86)", err)
	}
	if testing.Short() {
		t.Skip("-short: an emulated machine takes its time")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	kernel, err := guest.Find(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s", kernel.Version())
	code, err := kernel.Run(ctx, test, console)
	if err != nil {
		t.Fatalf("%v\n%v", err, console)
	}
	return code
}
