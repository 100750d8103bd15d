package conntrack

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

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

// removeIf is the verdict about a flow that is stale, or not.
func removeIf(stale bool) verdict {
	if stale {
		return removeFlow
	}
	return keepFlow
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
			f := flow{protocol: cluster.UDP, dialled: at(c.dialled), answerer: at(c.answerer)}
			if got, want := w.judge(f), removeIf(c.want); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	want := []part{{protocol: cluster.UDP}, {protocol: cluster.TCP, unanswered: true}, {v6: true, protocol: cluster.UDP}}
	if got := w.parts(); !slices.Equal(got, want) {
		t.Errorf("parts %v, want %v", got, want)
	}
}

// Of TCP only what has no answer yet: with Untranslated that which met no rule, else also what leads to
// a backend that left.
func TestStaleTCP(t *testing.T) {
	for _, c := range []struct {
		name, answerer           string
		halfOpen                 bool
		want, wantOfUntranslated bool
	}{
		{"half open to one that is there", "10.244.1.2:8080", true, false, false},
		{"half open to one that drains", "10.244.2.2:8080", true, false, false},
		{"half open to one that left", "10.244.3.2:8080", true, true, false},
		{"half open, never translated", "10.96.0.10:80", true, true, true},
		{"established to one that left", "10.244.3.2:8080", false, false, false},
		{"established, never translated", "10.96.0.10:80", false, false, false},
	} {
		for _, untranslated := range []bool{false, true} {
			k := Keep{Frontend: udp("10.96.0.10:80"), Backends: ats("10.244.1.2:8080"), Draining: ats("10.244.2.2:8080")}
			k.Frontend.Protocol, k.Untranslated = cluster.TCP, untranslated
			var w work
			w.add(nil, []Keep{k})
			want := c.want
			if untranslated {
				want = c.wantOfUntranslated
			}
			f := flow{protocol: cluster.TCP, dialled: at("10.96.0.10:80"), answerer: at(c.answerer), halfOpen: c.halfOpen}
			if got, want := w.judge(f), removeIf(want); got != want {
				t.Errorf("%s, untranslated %v: got %v, want %v", c.name, untranslated, got, want)
			}
			f.protocol = cluster.UDP
			if got := w.judge(f); got != keepFlow {
				t.Errorf("%s, as a flow of UDP: got %v, want %v", c.name, got, keepFlow)
			}
		}
	}
}

// A backend that drains keeps its flows, however long they are silent, until it is no backend any more.
func TestDrainingBackendKeepsFlows(t *testing.T) {
	node := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	for _, c := range []struct {
		name, dialled, answerer string
		want                    bool
	}{
		{"to it", "10.96.0.10:514", "10.244.2.2:514", false},
		{"to one that is ready", "10.96.0.10:514", "10.244.1.2:514", false},
		{"to one that left", "10.96.0.10:514", "10.244.3.2:514", true},
		{"NodePort, to it", "192.0.2.7:30514", "10.244.2.2:514", false},
		{"NodePort, to one that left", "192.0.2.7:30514", "10.244.3.2:514", true},
	} {
		for _, answered := range []bool{false, true} {
			for _, left := range []uint32{0, 1, 30, 120} {
				var w work
				w.add(node, []Keep{
					{Frontend: udp("10.96.0.10:514"), Backends: ats("10.244.1.2:514"), Draining: ats("10.244.2.2:514")},
					{Frontend: udp("0.0.0.0:30514"), Draining: ats("10.244.2.2:514")},
				})
				f := flow{protocol: cluster.UDP, dialled: at(c.dialled), answerer: at(c.answerer), answered: answered, left: left}
				if got, want := w.judge(f), removeIf(c.want); got != want {
					t.Errorf("%s, answered %v, %d s left: got %v, want %v", c.name, answered, left, got, want)
				}
				if next := w.unfinished(); !next.empty() {
					t.Errorf("%s: to look at again: %v", c.name, next.keep)
				}
			}
		}
	}
}

// DNS has no sessions: a flow to a backend that drains is over when it is silent, and not while an answer may be under
// way. As long as one stays it is looked at again.
func TestFlowsOfDNS(t *testing.T) {
	for _, c := range []struct {
		name     string
		answered bool
		left     uint32
		answerer string
		want     verdict
		again    bool
	}{
		{"answered", true, 29, "10.244.2.2:53", shortenFlow, true},
		{"a port of many questions", true, 119, "10.244.2.2:53", shortenFlow, true},
		{"shortened, and silent since", true, 1, "10.244.2.2:53", keepFlow, true},
		{"less than a second is left", true, 0, "10.244.2.2:53", keepFlow, true},
		{"no answer yet", false, 29, "10.244.2.2:53", keepFlow, true},
		{"to one that is ready", true, 29, "10.244.1.2:53", keepFlow, false},
		{"to one that left", true, 29, "10.244.3.2:53", removeFlow, false},
		{"to one that left, shortened", true, 1, "10.244.3.2:53", removeFlow, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w work
			w.add(nil, []Keep{{Frontend: udp("10.96.0.10:53"), Backends: ats("10.244.1.2:53"), Draining: ats("10.244.2.2:53")}})
			f := flow{protocol: cluster.UDP, dialled: at("10.96.0.10:53"), answerer: at(c.answerer), answered: c.answered, left: c.left}
			if got := w.judge(f); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			next := w.unfinished()
			if next.empty() == c.again {
				t.Errorf("to look at again: got %v, want any: %t", next.keep, c.again)
			}
			if got := next.judge(f); c.again && got != c.want {
				t.Errorf("the second look: got %v, want %v", got, c.want)
			}
		})
	}
}

// A backend that is new since the first look keeps its flows when those of a draining one are looked at again.
func TestNewBackendDuringDrain(t *testing.T) {
	var w work
	w.add(nil, []Keep{{Frontend: udp("10.96.0.10:53"), Backends: ats("10.244.1.2:53"), Draining: ats("10.244.2.2:53")}})
	w.judge(flow{protocol: cluster.UDP, dialled: at("10.96.0.10:53"), answerer: at("10.244.2.2:53"), answered: true, left: 29})
	next := w.unfinished()
	fresh := flow{protocol: cluster.UDP, dialled: at("10.96.0.10:53"), answerer: at("10.244.3.2:53"), answered: true, left: 29}
	if got := next.judge(fresh); got != keepFlow {
		t.Errorf("a flow to a new backend: got %v, want %v", got, keepFlow)
	}
	next.add(nil, []Keep{keep("10.96.0.10:53", "10.244.1.2:53")})
	if got := next.judge(fresh); got != removeFlow {
		t.Errorf("after the frontend's backends were passed anew: got %v, want %v", got, removeFlow)
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
		if got := w.judge(flow{protocol: cluster.UDP, dialled: at(f), answerer: at(want)}); got != keepFlow {
			t.Errorf("%s: the flow to %s: got %v, want %v", f, want, got, keepFlow)
		}
	}
	var fresh work
	fresh.later(earlier)
	if fresh.empty() {
		t.Error("the earlier work is lost")
	}
	if got := fresh.parts(); !slices.Equal(got, []part{{protocol: cluster.UDP}}) {
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
