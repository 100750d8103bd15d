package conntrack

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Half-open connections to a backend that is gone are cut; established ones are not, nor
// is anybody else's.
func TestHalfOpenConnections(t *testing.T) {
	h, c, results := host(t)
	const dead = "10.244.2.2:8080"
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1001", "10.96.0.10:80", dead)
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1002", "10.96.0.10:80", "10.244.1.2:8080")
	trackAs(t, h, nl.TCP_CONNTRACK_ESTABLISHED, "10.244.1.9:1003", "10.96.0.10:80", dead)
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1004", "10.96.0.99:80", dead)
	track(t, h, unix.IPPROTO_UDP, "10.244.1.9:1005", "10.96.0.10:80", dead)
	run(t, c)
	k := Keep{Frontend: udp("10.96.0.10:80"), Backends: ats("10.244.1.2:8080")}
	k.Frontend.Protocol = cluster.TCP
	c.Clean([]netip.Addr{}, []Keep{k})
	if r := <-results; r.Err != nil || r.Removed != 1 {
		t.Errorf("removed %d, %v; want 1", r.Removed, r.Err)
	}
	if left := strings.Join(tracked(t, h), "\n"); strings.Contains(left, ":1001 ") || strings.Count(left, "\n") != 3 {
		t.Errorf("left\n%s", left)
	}
}

// With Untranslated those are cut that met no rule, and no other. The kernel sends no connection that has an answer.
func TestUntranslatedConnections(t *testing.T) {
	h, c, results := host(t)
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1001", "10.96.0.10:80", "10.96.0.10:80")
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1002", "10.96.0.10:80", "10.244.2.2:8080")
	trackAs(t, h, nl.TCP_CONNTRACK_ESTABLISHED, "10.244.1.9:1003", "10.96.0.10:80", "10.96.0.10:80")
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1004", "10.96.0.99:80", "10.96.0.99:80")
	run(t, c)
	k := Keep{Frontend: udp("10.96.0.10:80"), Untranslated: true}
	k.Frontend.Protocol = cluster.TCP
	c.Clean([]netip.Addr{}, []Keep{k})
	if r := <-results; r.Err != nil || r.Removed != 1 {
		t.Errorf("removed %d, %v; want 1", r.Removed, r.Err)
	}
	if left := strings.Join(tracked(t, h), "\n"); strings.Contains(left, ":1001 ") || strings.Count(left, "\n") != 2 {
		t.Errorf("left\n%s", left)
	}
}

// However many flows are stale, few are held at a time.
func TestManyStaleFlows(t *testing.T) {
	h, c, results := host(t)
	c.batch = 7
	for i := range 50 {
		track(t, h, unix.IPPROTO_UDP, fmt.Sprintf("10.244.1.9:%d", 1000+i), "10.96.0.10:53", "10.244.2.2:53")
	}
	run(t, c)
	c.Clean(nil, []Keep{keep("10.96.0.10:53", "")})
	select {
	case r := <-results:
		if r.Removed != 50 || r.Err != nil {
			t.Errorf("removed %d, %v; want 50", r.Removed, r.Err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if n := len(tracked(t, h)); n != 0 {
		t.Errorf("%d flows are left", n)
	}
}

func TestFind(t *testing.T) {
	h, _, _ := host(t)
	trackAs(t, h, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1001", "10.96.0.10:80", "10.244.2.2:8080")
	trackAs(t, h, nl.TCP_CONNTRACK_ESTABLISHED, "10.244.1.9:1002", "10.96.0.10:80", "10.244.2.2:8080")
	trackAs(t, h, nl.TCP_CONNTRACK_ESTABLISHED, "10.244.1.9:1003", "10.96.0.10:80", "10.244.1.2:8080")
	trackAs(t, h, nl.TCP_CONNTRACK_ESTABLISHED, "10.244.1.9:1004", "10.96.0.10:81", "10.244.1.2:8081")
	track(t, h, unix.IPPROTO_UDP, "10.244.1.9:1005", "172.30.0.11:30053", "10.244.1.2:53")
	track(t, h, unix.IPPROTO_UDP, "10.244.1.9:1006", "198.51.100.1:30053", "198.51.100.1:30053")
	web := udp("10.96.0.10:80")
	web.Protocol = cluster.TCP
	for _, c := range []struct {
		f    vip.Frontend
		want string
	}{
		{web, "[{10.244.1.2:8080 1 0} {10.244.2.2:8080 2 1}]"},
		{udp("0.0.0.0:30053"), "[{10.244.1.2:53 1 0}]"},
		{udp("10.96.0.10:80"), "[]"},
	} {
		var got []Tracked
		if err := h.Do(func() (err error) {
			got, err = Find(c.f, []netip.Addr{netip.MustParseAddr("172.30.0.11")})
			return err
		}); err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%v: %v, %v; want %s", c.f, got, err, c.want)
		}
	}
}
