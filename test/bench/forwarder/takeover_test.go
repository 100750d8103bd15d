package forwarder

import (
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A real kube-proxy is replaced while connections are made without a pause, and goes back
// into its place: not one of them fails.
func TestTakeOverFromKubeProxy(t *testing.T) {
	theirBinary := findKubeProxy()
	if theirBinary == "" {
		t.Skip("no kube-proxy: go -C test/cluster run . build cluster")
	}
	x := newSide(t, theirs, theirBinary, bulk(size{20, 2}))
	for n := range burst {
		x.api.Put(judged(n))
		x.lead(0, n)
	}
	list := func(args ...string) string {
		cmd := exec.Command("nft", append([]string{"list"}, args...)...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := x.node.Run(cmd); err != nil {
			t.Fatalf("nft: %v\n%s", err, out.String())
		}
		return out.String()
	}
	tables := func() string { return list("tables") }
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not so after two minutes; tables:\n%s\nlog:\n%s", what, tables(), x.log)
			}
		}
	}
	has := func(name string) func() bool { return func() bool { return strings.Contains(tables(), name) } }
	not := func(f func() bool) func() bool { return func() bool { return !f() } }

	x.begin()
	x.until(burst-1, 0)
	stop := make(chan struct{})
	failed := make(chan error, 1)
	var dials atomic.Int64
	go func() {
		for {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			// One that meets no rule is tracked as it is, and does not come about later either.
			if got := x.dialWithin(10*time.Second, judgedAt(burst-1)); got == 0 {
				failed <- fmt.Errorf("connection %d failed", dials.Load())
				return
			}
			dials.Add(1)
		}
	}()
	kubeProxy := x.process
	x.name, x.binary = ours, buildForwarder(t)
	x.begin() // beside it: its ports are taken, its rules stay
	until("ours has its rules", has("signpost"))
	until("ours sees the other", func() bool { return x.log.has("another proxy runs on this node") })
	if !has("kube-proxy")() {
		t.Error("the rules of a kube-proxy that runs are gone")
	}
	kubeProxy.Kill()
	until("what kube-proxy left is gone", not(has("kube-proxy")))
	x.lead(1, burst-1)
	x.until(burst-1, 1)

	// And back, as the README has it: kube-proxy first, then --cleanup.
	forwarder := x.process
	forwarder.Kill()
	x.binary = theirBinary
	x.begin()
	until("kube-proxy has its rules", func() bool { // its two families are not written at once
		return has("table ip kube-proxy\n")() && strings.Contains(list("table", "ip", "kube-proxy"), vip(burst-1))
	})
	x.lead(0, burst-1)
	cleanup := exec.Command(buildForwarder(t), "--cleanup")
	var out strings.Builder
	cleanup.Stdout, cleanup.Stderr = &out, &out
	if err := x.node.Run(cleanup); err != nil {
		t.Errorf("--cleanup: %v\n%s", err, out.String())
	}
	if has("signpost")() || !has("kube-proxy")() {
		t.Errorf("after --cleanup there are\n%s%s", tables(), out.String())
	}
	x.until(burst-1, 0)
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	t.Logf("%d connections", dials.Load())
}
