package conntrack

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// at parses "10.96.0.10:53".
func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func ats(text string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range strings.Fields(text) {
		out = append(out, at(s))
	}
	return out
}

// udp is a UDP frontend, 0.0.0.0 and [::] for NodePorts.
func udp(s string) vip.Frontend {
	return vip.Frontend{Addr: at(s).Addr(), Port: at(s).Port(), Protocol: cluster.UDP}
}

func keep(frontend, backends string) Keep {
	return Keep{Frontend: udp(frontend), Backends: ats(backends)}
}

func TestStale(t *testing.T) {
	var w work
	nodeAddrs := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	tcp := keep("10.96.0.11:53", "")
	tcp.Frontend.Protocol = cluster.TCP
	w.add(nodeAddrs, []Keep{
		keep("10.96.0.10:53", "10.244.1.2:53 10.244.2.2:53"),
		keep("10.96.0.12:53", ""),
		keep("0.0.0.0:30053", "10.244.1.2:53"),
		keep("[fd00::a]:53", "[fd00:10::2]:53"),
		keep("[::]:30053", "[fd00:10::2]:53"),
		tcp,
	})
	for _, c := range []struct {
		name, dialled, answerer string
		want                    bool
	}{
		{"backend that is there", "10.96.0.10:53", "10.244.2.2:53", false},
		{"backend that left", "10.96.0.10:53", "10.244.3.2:53", true},
		{"backend on another port", "10.96.0.10:53", "10.244.2.2:5353", true},
		{"never translated", "10.96.0.10:53", "10.96.0.10:53", true},
		{"another port of the address", "10.96.0.10:54", "10.244.3.2:53", false},
		{"nobody serves it", "10.96.0.12:53", "10.244.1.2:53", true},
		{"frontend that was not asked about", "10.96.0.13:53", "10.244.3.2:53", false},
		{"frontend of TCP", "10.96.0.11:53", "10.244.3.2:53", false},
		{"NodePort, backend there", "192.0.2.7:30053", "10.244.1.2:53", false},
		{"NodePort, backend left", "192.0.2.7:30053", "10.244.3.2:53", true},
		{"NodePort, a process of the node answered", "192.0.2.7:30053", "192.0.2.7:30053", true},
		{"the same port elsewhere", "198.51.100.1:30053", "198.51.100.1:30053", false},
		{"another port of the node", "192.0.2.7:53", "10.244.3.2:53", false},
		{"IPv6, backend there", "[fd00::a]:53", "[fd00:10::2]:53", false},
		{"IPv6, backend left", "[fd00::a]:53", "[fd00:10::3]:53", true},
		{"IPv6 NodePort, backend left", "[2001:db8::7]:30053", "[fd00:10::3]:53", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := w.stale(flow{protocol: cluster.UDP, dialled: at(c.dialled), answerer: at(c.answerer), answered: true}); got != c.want {
				t.Errorf("stale: %v, want %v", got, c.want)
			}
		})
	}
	want := []part{{false, cluster.UDP}, {false, cluster.TCP}, {true, cluster.UDP}}
	if got := w.parts(); !slices.Equal(got, want) {
		t.Errorf("parts %v, want %v", got, want)
	}
}

// Of TCP only what nobody has answered.
func TestStaleTCP(t *testing.T) {
	var w work
	k := Keep{udp("10.96.0.10:80"), ats("10.244.1.2:8080"), ats("10.244.2.2:8080")}
	k.Frontend.Protocol = cluster.TCP
	w.add(nil, []Keep{k})
	for _, c := range []struct {
		name, answerer string
		halfOpen, want bool
	}{
		{"half open to one that is there", "10.244.1.2:8080", true, false},
		{"half open to one that drains", "10.244.2.2:8080", true, false},
		{"half open to one that left", "10.244.3.2:8080", true, true},
		{"never translated", "10.96.0.10:80", true, true},
		{"established to one that left", "10.244.3.2:8080", false, false},
	} {
		f := flow{protocol: cluster.TCP, dialled: at("10.96.0.10:80"), answerer: at(c.answerer), halfOpen: c.halfOpen}
		if got := w.stale(f); got != c.want {
			t.Errorf("%s: stale: %v, want %v", c.name, got, c.want)
		}
		if f.protocol = cluster.UDP; w.stale(f) {
			t.Errorf("%s: stale as a flow of UDP", c.name)
		}
	}
}

// A backend that drains keeps its streams, and loses the clients that had their answer.
func TestStaleWhereBackendsDrain(t *testing.T) {
	var w work
	node := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	w.add(node, []Keep{
		{udp("10.96.0.10:53"), ats("10.244.1.2:53"), ats("10.244.2.2:53")},
		{udp("0.0.0.0:30053"), nil, ats("10.244.2.2:53")},
	})
	for _, c := range []struct {
		name, dialled, answerer string
		stream, want            bool
	}{
		{"stream to it", "10.96.0.10:53", "10.244.2.2:53", true, false},
		{"answered", "10.96.0.10:53", "10.244.2.2:53", false, true},
		{"answered by another", "10.96.0.10:53", "10.244.1.2:53", false, false},
		{"NodePort, stream to it", "192.0.2.7:30053", "10.244.2.2:53", true, false},
		{"NodePort, answered", "192.0.2.7:30053", "10.244.2.2:53", false, true},
		{"stream to one that left", "10.96.0.10:53", "10.244.3.2:53", true, true},
	} {
		f := flow{protocol: cluster.UDP, dialled: at(c.dialled), answerer: at(c.answerer), stream: c.stream, answered: true}
		if got := w.stale(f); got != c.want {
			t.Errorf("%s: stale: %v, want %v", c.name, got, c.want)
		}
	}
}

// A stream to a backend that drains stays while it goes on, and where that is not known; at first any flow does in
// which an answer may be on its way. As long as one stays it is to be looked at again.
func TestSilentFlows(t *testing.T) {
	const timeout, streamTimeout = 30, 120
	const other, question = "10.96.0.10:514", "10.96.0.10:53"
	for _, c := range []struct {
		name             string
		dialled          string
		stream, answered bool
		left             uint32
		fresh, later     bool // whether it is over, at first and later
	}{
		{"stream, just now", other, true, true, 120, false, false},
		{"stream, within a second", other, true, true, 119, false, false},
		{"stream, longer ago", other, true, true, 118, true, true},
		{"stream with a time of its own", other, true, true, 600, false, false},
		{"stream, the kernel does not say", other, true, true, 0, false, false},
		{"stream of DNS, just now", question, true, true, 120, false, false},
		{"stream of DNS, within a second", question, true, true, 119, false, true},
		{"stream of DNS, longer ago", question, true, true, 118, true, true},
		{"answered just now, or asked again", other, false, true, 30, false, true},
		{"answered within a second", question, false, true, 29, false, true},
		{"answered longer ago", question, false, true, 28, true, true},
		{"answered, the kernel does not say", question, false, true, 0, false, true},
		{"asked just now", question, false, false, 30, false, false},
		{"asked within a second", other, false, false, 29, false, false},
		{"asked within a second of DNS", question, false, false, 29, false, true},
		{"asked longer ago", other, false, false, 28, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Unix(1, 0)
			backend := netip.AddrPortFrom(at("10.244.2.2:1").Addr(), at(c.dialled).Port())
			f := flow{protocol: cluster.UDP, dialled: at(c.dialled), answerer: backend, stream: c.stream, answered: c.answered, left: c.left}
			list := []Keep{{udp(c.dialled), ats("10.244.1.2:1"), []netip.AddrPort{backend}}}
			all := drains{}
			all.told(begin, list)
			all.told(begin.Add(answering/2), list) // something else changed
			for age, want := range map[time.Duration]bool{0: c.fresh, answering - 1: c.fresh, answering: c.later} {
				w := work{timeouts: timeouts{timeout, streamTimeout}}
				w.add(nil, list)
				w.fresh = all.fresh(begin.Add(age), w.keep)
				if got := w.stale(f); got != want {
					t.Errorf("after %v: stale: %v, want %v", age, got, want)
				}
				if next := w.unfinished(); next.empty() != want {
					t.Errorf("after %v, to look at again: %v, want so: %t", age, next.keep, !want)
				}
				w.timeouts = timeouts{}
				if w.stale(f) && c.stream {
					t.Errorf("after %v: stale, although the settings are not known", age)
				}
				f := f
				if f.answerer = at("10.244.1.2:1"); w.stale(f) {
					t.Errorf("after %v: stale, although it leads to one that is ready", age)
				}
			}
			list[0].Draining = nil
			if all.told(begin, list); len(all) != 0 {
				t.Errorf("nothing drains, and %v is remembered", all)
			}
		})
	}
}

// What is told later counts, also over what could not be finished.
func TestWorkIsGathered(t *testing.T) {
	var earlier, w work
	earlier.add(nil, []Keep{keep("10.0.0.1:1", "10.1.0.1:1"), keep("10.0.0.2:1", "10.1.0.1:1")})
	w.add(nil, []Keep{keep("10.0.0.2:1", "10.1.0.2:1")})
	w.add(nil, []Keep{keep("10.0.0.2:1", "10.1.0.3:1")})
	w.later(earlier)
	for f, want := range map[string]string{"10.0.0.1:1": "10.1.0.1:1", "10.0.0.2:1": "10.1.0.3:1"} {
		if w.stale(flow{protocol: cluster.UDP, dialled: at(f), answerer: at(want)}) {
			t.Errorf("%s: the flow to %s is stale", f, want)
		}
	}
	var fresh work
	fresh.later(earlier)
	if fresh.empty() {
		t.Error("the earlier work is lost")
	}
	if got := fresh.parts(); !slices.Equal(got, []part{{false, cluster.UDP}}) {
		t.Errorf("parts %v, want UDP over IPv4 alone", got)
	}
}

// The kernel's messages come from the kernel; a parser reads bytes.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0, 0, 4, 0, 1, 128})
	f.Add([]byte{2, 0, 0, 0, 3, 0, 1, 128})
	f.Add([]byte{2, 0, 0, 0, 255, 255, 1, 128})
	e := entry{tuple: []byte{8, 0, 2, 128, 5, 0, 1, 0}}
	f.Add(deleteRequest(unix.AF_INET, e).Serialize()[unix.SizeofNlMsghdr:])
	f.Fuzz(func(t *testing.T, message []byte) {
		e, ok := parse(message)
		if ok && (!e.dialled.Addr().IsValid() || !e.answerer.Addr().IsValid() || len(e.tuple) == 0) {
			t.Errorf("%v: half a flow: %+v", message, e)
		}
	})
}
