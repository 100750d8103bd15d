package conntrack

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What another answers than was dialled, without a rule, is IPVS's.
func TestRelease(t *testing.T) {
	h, _, _ := host(t)
	const tcpEstablished, tcpTimeWait = 3, 7
	led := func() (yes bool) {
		t.Helper()
		if err := h.Do(func() (err error) { yes, err = HasIPVSConnections(); return err }); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	track(t, h, unix.IPPROTO_UDP, "10.244.1.9:1001", "10.96.0.10:53", "10.244.1.2:53")
	track(t, h, unix.IPPROTO_UDP, "10.244.1.9:1002", "10.244.1.2:53", "10.244.1.2:53")
	track(t, h, unix.IPPROTO_UDP, "[fd00:10::9]:1005", "[fd00::a]:53", "[fd00:10::2]:53")
	trackAs(t, h, tcpEstablished, "10.244.1.9:1003", "10.244.1.2:80", "10.244.1.2:80")
	trackAs(t, h, tcpTimeWait, "10.244.1.9:1004", "10.96.0.10:80", "10.244.1.2:80")
	if led() {
		t.Error("one that has ended, and one that leads where it was dialled, are taken for one of IPVS's")
	}
	trackAs(t, h, tcpEstablished, "10.244.1.9:1006", "10.96.0.10:80", "10.244.1.2:80")
	if !led() {
		t.Error("one of IPVS's is not seen")
	}
	var removed int
	if err := h.Do(func() (err error) { removed, err = Release(); return err }); err != nil || removed != 4 {
		t.Errorf("removed %d, %v; want 4", removed, err)
	}
	want := []string{"17 10.244.1.9:1002 10.244.1.2:53 10.244.1.2:53", "6 10.244.1.9:1003 10.244.1.2:80 10.244.1.2:80"}
	if got := tracked(t, h); !slices.Equal(got, want) {
		t.Errorf("left\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
