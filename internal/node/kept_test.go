package node

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// What is kept is read back whole, whatever its length, until it is forgotten.
func TestKept(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	if err := n.Do(func() error {
		if text, err := Kept(); err == nil {
			t.Errorf("a new namespace keeps %q", text)
		}
		noise := make([]byte, 5000) // cannot be packed
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		for _, text := range [][]byte{[]byte("mode: nftables\n"), noise, {}, bytes.Repeat([]byte("clusterCIDR: 10.244.0.0/16\n"), 50)} {
			if err := Keep(text); err != nil {
				t.Fatal(err)
			}
			if got, err := Kept(); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(text))
			}
		}
		for range 2 {
			if err := Forget(); err != nil {
				t.Error(err)
			}
		}
		if text, err := Kept(); err == nil {
			t.Errorf("forgotten, and it keeps %q", text)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
