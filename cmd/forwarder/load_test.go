package main

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// rulesWatch counts what is written to the rules of a host: elements, rules, chains, sets.
type rulesWatch struct {
	p   *netlab.Process
	mu  sync.Mutex
	out bytes.Buffer
}

func (w *rulesWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func watchRules(t *testing.T, h *netlab.Host) *rulesWatch {
	t.Helper()
	nft(t, h, "", "--version") // or skip
	w := &rulesWatch{}
	cmd := exec.Command("nft", "monitor")
	cmd.Stdout, cmd.Stderr = w, w
	var err error
	if w.p, err = h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.p.Kill() })
	for n := 0; !strings.Contains(w.text(), "beacon"); n++ { // until it listens
		if n > 1000 {
			t.Fatalf("nft monitor tells nothing: %s", w.text())
		}
		nft(t, h, "add table ip beacon; delete table ip beacon", "-f", "-")
		time.Sleep(time.Millisecond)
	}
	return w
}

func (w *rulesWatch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// writes are the lines about other than tables, and than one that is tried and removed in one transaction.
func (w *rulesWatch) writes() (out []string) {
	lines := bufio.NewScanner(strings.NewReader(w.text()))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) > 1 && (words[0] == "add" || words[0] == "delete" || words[0] == "insert" || words[0] == "replace") &&
			words[1] != "table" && !strings.Contains(lines.Text(), "-probe ") {
			out = append(out, lines.Text())
		}
	}
	return out
}

// All backends are replaced, one after the other as a Deployment does it, and nobody
// notices: those that go drain, and end when they are out of the EndpointSlice.
func TestRollingReplacement(t *testing.T) {
	for _, mode := range []string{"nftables", "ipvs"} {
		t.Run(mode, func(t *testing.T) { rollingReplacement(t, mode) })
	}
}

func rollingReplacement(t *testing.T, mode string) {
	f := newFarm(t, mode, 6)
	f.serve([]int{0, 1, 2})
	p := f.start()
	f.load()
	const step = 150 * time.Millisecond // of a kubelet and a controller, they are slower
	for i := range 3 {
		time.Sleep(step)
		ready := []int{}
		for j := i; j <= i+3; j++ {
			ready = append(ready, j)
		}
		f.serve(ready)
		time.Sleep(step)
		f.serve(ready[1:], i) // preStop
		time.Sleep(2 * step)
		f.remove(p, i, ready[1:])
		f.echoes[i].Close() // SIGTERM
		f.lines[i].Close()
	}
	time.Sleep(step)
	f.end()
}

// A forwarder that is killed and started again is not noticed by anybody, and finds
// nothing to write.
func TestKilledUnderLoad(t *testing.T) {
	for _, mode := range []string{"nftables", "ipvs"} {
		t.Run(mode, func(t *testing.T) { killedUnderLoad(t, mode) })
	}
}

func killedUnderLoad(t *testing.T, mode string) {
	f := newFarm(t, mode, 3)
	f.serve([]int{0, 1, 2})
	p := f.start()
	var before string
	if mode == "ipvs" {
		before = f.markServers()
	}
	f.load()
	p.until("the configuration is kept", func() (bool, string) {
		got := nft(t, f.node.Host, "", "list", "ruleset")
		return strings.Contains(got, "signpost-config"), got
	})
	w := watchRules(t, f.node.Host)
	for range 3 {
		time.Sleep(50 * time.Millisecond)
		p.Kill()
		time.Sleep(100 * time.Millisecond)
		p = f.start()
	}
	time.Sleep(50 * time.Millisecond)
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("three restarts wrote:\n%s", strings.Join(writes, "\n"))
	}
	if mode == "ipvs" {
		if after := virtualServers(t, f.node.Host) + f.virtualLink(); after != before {
			t.Errorf("three restarts left\n%s\nbefore there was\n%s", after, before)
		}
	}
	f.remove(p, 2, []int{0, 1})
	if mode != "ipvs" {
		p.until("the watch sees what is written", func() (bool, string) { return len(w.writes()) > 0, w.text() })
	}
	f.end()
}
