package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestNewSlice(t *testing.T) {
	tests := []struct {
		name           string
		in             []string
		want           []string
		ready4, ready6 int
	}{
		{"empty", nil, nil, 0, 0},
		{"sorted", []string{"10.0.0.1", "10.0.0.2"}, []string{"10.0.0.1:80", "10.0.0.2:80"}, 2, 0},
		{"unsorted", []string{"10.0.0.2", "10.0.0.10", "10.0.0.1"}, []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.10:80"}, 3, 0},
		{"families", []string{"fd00::1", "10.0.0.1"}, []string{"10.0.0.1:80", "fd00::1:80"}, 1, 1},
		{"not ready is not counted", []string{"10.0.0.1-", "10.0.0.2", "fd00::1-"}, []string{"10.0.0.1-:80", "10.0.0.2:80", "fd00::1-:80"}, 1, 0},
		{"a pod that terminates before the one that has its address now", []string{"10.244.1.7=db-0~", "10.244.1.7=db-1"}, []string{"10.244.1.7=db-0~:80", "10.244.1.7=db-1:80"}, 1, 0},
		{"and behind it", []string{"10.244.1.7=db-1", "10.244.1.7=db-0~"}, []string{"10.244.1.7=db-1:80", "10.244.1.7=db-0~:80"}, 1, 0},
		{"one that is not ready before one that is", []string{"10.0.0.2-", "10.0.0.2=b"}, []string{"10.0.0.2-:80", "10.0.0.2=b:80"}, 1, 0},
		{"two hostnames", []string{"192.0.2.50=store-0", "192.0.2.50=store-1"}, []string{"192.0.2.50=store-0:80", "192.0.2.50=store-1*:80"}, 1, 0},
		{"in the order given", []string{"10.0.0.2=b", "10.0.0.1", "10.0.0.2-", "10.0.0.2=a", "fd00::1", "fd00::1"},
			[]string{"10.0.0.1:80", "10.0.0.2=b:80", "10.0.0.2-:80", "10.0.0.2=a*:80", "fd00::1:80", "fd00::1*:80"}, 2, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := slice("web-x", "default/web", 7, []uint16{80}, test.in...)
			if s.Key != (Key{"default", "web-x"}) || s.Service != (Key{"default", "web"}) || s.Version != 7 {
				t.Errorf("%v of %v at %d", s.Key, s.Service, s.Version)
			}
			e := &Entry{Slices: []*Slice{s}}
			if got := show(e); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if v4, v6 := e.Ready(); v4 != test.ready4 || v6 != test.ready6 {
				t.Errorf("Ready() = %d, %d, want %d, %d", v4, v6, test.ready4, test.ready6)
			}
			if got := e.Size(); got != len(test.want) {
				t.Errorf("Size() = %d, want %d", got, len(test.want))
			}
		})
	}
}

// TestNewSliceKeepsTheOrder has enough of one address that an unstable sort would mix
// them up, and what only a Store may say.
func TestNewSliceKeepsTheOrder(t *testing.T) {
	var list []Endpoint
	for i := range 100 {
		list = append(list, Endpoint{Addr: nth("10.0.0.0", 9-i%10), Hostname: fmt.Sprint("web-", i), Conditions: Superseded | Repeated})
	}
	s := NewSlice(key("default/web-x"), key("default/web"), 1, nil, list)
	if len(s.Endpoints) != 100 {
		t.Fatalf("%d endpoints, want 100", len(s.Endpoints))
	}
	for i, ep := range s.Endpoints {
		if want := fmt.Sprint("web-", i%10*10+9-i/10); ep.Addr != nth("10.0.0.0", i/10) || ep.Hostname != want || ep.Conditions != 0 {
			t.Errorf("endpoint %d is %v %s %b, want %s", i, ep.Addr, ep.Hostname, ep.Conditions, want)
		}
	}
}

func TestEndpointLookup(t *testing.T) {
	s := slice("web-x", "default/web", 1, []uint16{80}, "10.0.0.1", "10.0.0.3-", "10.0.0.5=web-0", "fd00::1")
	e := &Entry{Slices: []*Slice{slice("web-a", "default/web", 1, []uint16{80}), s}}
	tests := []struct {
		name     string
		addr     string
		hostname string
		there    bool
		ready    bool
	}{
		{"the first", "10.0.0.1", "", true, true},
		{"not ready", "10.0.0.3", "", true, false},
		{"with a hostname", "10.0.0.5", "web-0", true, true},
		{"IPv6", "fd00::1", "", true, true},
		{"before the first", "10.0.0.0", "", false, false},
		{"between", "10.0.0.4", "", false, false},
		{"behind the last", "fd00::2", "", false, false},
		{"an IPv4 address in IPv6", "::ffff:10.0.0.1", "", false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := netip.MustParseAddr(test.addr)
			list := s.At(a)
			if (len(list) > 0) != test.there || len(list) > 1 {
				t.Fatalf("At(%v) = %v", a, list)
			}
			var want *Endpoint
			if test.there && (list[0].Addr != a || list[0].Hostname != test.hostname) {
				t.Errorf("At(%v) = %+v, want hostname %q", a, list, test.hostname)
			}
			if test.ready {
				want = &list[0]
			}
			if got := e.ReadyEndpoint(a); got != want {
				t.Errorf("ReadyEndpoint(%v) = %v, want %v", a, got, want)
			}
		})
	}
	if len(s.At(netip.Addr{})) > 0 {
		t.Error("the zero address has an endpoint")
	}
}

// TestSlicesOfOneService puts slices that list the same addresses. In each row
// every order of arrival must come to the same.
func TestSlicesOfOneService(t *testing.T) {
	type in struct {
		name      string
		version   uint64
		ports     []uint16
		endpoints []string
	}
	http, web, both := []uint16{80}, []uint16{8080}, []uint16{80, 53}
	tests := []struct {
		name   string
		slices []in
		want   []string // as show has it
		ready  int
	}{
		{"apart", []in{{"a", 1, http, []string{"10.0.0.1"}}, {"b", 1, http, []string{"10.0.0.2"}}},
			[]string{"10.0.0.1:80", "10.0.0.2:80"}, 2},
		{"one pod: the newer slice is right", []in{{"a", 2, http, []string{"10.0.0.1=new#x"}}, {"b", 1, http, []string{"10.0.0.1=old#x", "10.0.0.2"}}},
			[]string{"10.0.0.1=new:80", "10.0.0.1=old^:80", "10.0.0.2:80"}, 2},
		{"one pod, the other way round", []in{{"a", 1, http, []string{"10.0.0.1=old#x", "10.0.0.2"}}, {"b", 2, http, []string{"10.0.0.1=new#x"}}},
			[]string{"10.0.0.1=old^:80", "10.0.0.2:80", "10.0.0.1=new:80"}, 2},
		{"one pod, of one version the greater name", []in{{"a", 1, http, []string{"10.0.0.1=a#x"}}, {"b", 1, http, []string{"10.0.0.1=b#x"}}},
			[]string{"10.0.0.1=a^:80", "10.0.0.1=b:80"}, 1},
		{"one pod, not ready any more", []in{{"a", 2, http, []string{"10.0.0.1#x-"}}, {"b", 1, http, []string{"10.0.0.1#x"}}},
			[]string{"10.0.0.1-:80", "10.0.0.1^:80"}, 0},
		{"one pod, ready by now", []in{{"a", 2, http, []string{"10.0.0.1#x"}}, {"b", 1, http, []string{"10.0.0.1#x-"}}},
			[]string{"10.0.0.1:80", "10.0.0.1^:80"}, 1},
		{"one pod, terminating by now", []in{{"a", 2, http, []string{"10.0.0.1#x~"}}, {"b", 1, http, []string{"10.0.0.1#x"}}},
			[]string{"10.0.0.1~:80", "10.0.0.1^:80"}, 0},
		{"one pod on two sets of ports: each slice is right about its own", []in{{"a", 2, http, []string{"10.0.0.1#x-"}}, {"b", 1, web, []string{"10.0.0.1#x"}}},
			[]string{"10.0.0.1-:80", "10.0.0.1:8080"}, 1},
		{"one pod in three slices, two with the same ports", []in{
			{"a", 3, http, []string{"10.0.0.1#x-"}}, {"b", 2, web, []string{"10.0.0.1#x"}}, {"c", 1, http, []string{"10.0.0.1#x"}}},
			[]string{"10.0.0.1-:80", "10.0.0.1:8080", "10.0.0.1^:80"}, 1},
		{"two pods: a newer one that is not ready hides no ready one (D-F3)", []in{{"a", 1, http, []string{"192.0.2.61#agent-x"}}, {"b", 2, http, []string{"192.0.2.61#agent-y-"}}},
			[]string{"192.0.2.61:80", "192.0.2.61-:80"}, 1},
		{"two pods, both ready", []in{{"a", 2, http, []string{"10.0.0.1=x#x"}}, {"b", 1, http, []string{"10.0.0.1=y#y"}}},
			[]string{"10.0.0.1=x:80", "10.0.0.1=y*:80"}, 1},
		{"two pods, one of which moved", []in{{"a", 3, http, []string{"10.0.0.1=x#x"}}, {"b", 1, http, []string{"10.0.0.1=x#x", "10.0.0.1=y#y"}}, {"c", 2, http, []string{"10.0.0.1=y#y"}}},
			[]string{"10.0.0.1=x:80", "10.0.0.1=x^:80", "10.0.0.1=y^:80", "10.0.0.1=y*:80"}, 1},
		{"a pod twice in one slice is two endpoints", []in{{"a", 1, http, []string{"10.0.0.1=x#x", "10.0.0.1=y#x"}}, {"b", 2, http, []string{"10.0.0.2"}}},
			[]string{"10.0.0.1=x:80", "10.0.0.1=y*:80", "10.0.0.2:80"}, 2},
		{"of unknown pods, both count", []in{{"a", 2, http, []string{"10.0.0.1=new"}}, {"b", 1, http, []string{"10.0.0.1=old", "10.0.0.2"}}},
			[]string{"10.0.0.1=new:80", "10.0.0.1=old*:80", "10.0.0.2:80"}, 2},
		{"of unknown pods, the ready one counts", []in{{"a", 2, http, []string{"10.0.0.1-"}}, {"b", 1, http, []string{"10.0.0.1"}}},
			[]string{"10.0.0.1-:80", "10.0.0.1:80"}, 1},
		{"of unknown pods, with other ports (D-F2)", []in{{"a", 2, http, []string{"10.0.0.1=ex-0"}}, {"b", 1, web, []string{"10.0.0.1=ex-2"}}},
			[]string{"10.0.0.1=ex-0:80", "10.0.0.1=ex-2*:8080"}, 1},
		{"more ports are other ports", []in{{"a", 1, http, []string{"10.0.0.1"}}, {"b", 2, both, []string{"10.0.0.1"}}},
			[]string{"10.0.0.1:80", "10.0.0.1*:80:53"}, 1},
		{"ready on the newer's ports, not on others", []in{{"a", 2, http, []string{"10.0.0.1"}}, {"b", 1, web, []string{"10.0.0.1-"}}},
			[]string{"10.0.0.1:80", "10.0.0.1-:8080"}, 1},
		{"ready nowhere", []in{{"a", 2, http, []string{"10.0.0.1-"}}, {"b", 1, web, []string{"10.0.0.1-"}}},
			[]string{"10.0.0.1-:80", "10.0.0.1-:8080"}, 0},
		{"three with other ports each", []in{
			{"a", 1, http, []string{"10.0.0.1"}}, {"b", 3, web, []string{"10.0.0.1"}}, {"c", 2, both, []string{"10.0.0.1"}}},
			[]string{"10.0.0.1:80", "10.0.0.1*:8080", "10.0.0.1*:80:53"}, 1},
		{"no ports at all", []in{{"a", 1, nil, []string{"10.0.0.1#x"}}, {"b", 2, nil, []string{"10.0.0.1#x"}}},
			[]string{"10.0.0.1^", "10.0.0.1"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			permutations(len(test.slices), func(order []int) {
				s := NewStore()
				s.Put(0, service("default/web"))
				for _, i := range order {
					in := test.slices[i]
					s.Put(0, slice(in.name, "default/web", in.version, in.ports, in.endpoints...))
				}
				e := s.Service("default", "web")
				if got := show(e); !slices.Equal(got, test.want) {
					t.Errorf("arrived as %v: got %v, want %v", order, got, test.want)
				}
				if v4, _ := e.Ready(); v4 != test.ready {
					t.Errorf("arrived as %v: Ready() = %d, want %d", order, v4, test.ready)
				}
				first := netip.MustParseAddr("10.0.0.1")
				if o := s.Owners(first); o.Valid() != (e.ReadyEndpoint(first) != nil) {
					t.Errorf("arrived as %v: an owner: %v, a ready endpoint: %v", order, o.Valid(), e.ReadyEndpoint(first))
				}
				for _, i := range order { // and none leaves a trace
					s.Delete(0, Ref{KindSlice, Key{"default", test.slices[i].name}})
				}
				if e := s.Service("default", "web"); len(e.Slices) > 0 || e.clashes != nil || s.HasAddressIn(netip.MustParsePrefix("0.0.0.0/0")) {
					t.Errorf("arrived as %v: left over %v, %v", order, show(e), e.clashes)
				}
			})
		})
	}
}

// permutations calls f with every order of n things.
func permutations(n int, f func([]int)) {
	order := make([]int, 0, n)
	var next func()
	next = func() {
		if len(order) == n {
			f(order)
			return
		}
		for i := range n {
			if !slices.Contains(order, i) {
				order = append(order, i)
				next()
				order = order[:len(order)-1]
			}
		}
	}
	next()
}

// TestReceivedSlicesStay proves that settling works on copies: a received slice
// belongs to the feed's object and is settled anew with each change.
func TestReceivedSlicesStay(t *testing.T) {
	s := NewStore()
	older := slice("a", "default/web", 1, []uint16{80}, "10.0.0.1", "10.0.0.2")
	s.Put(0, service("default/web"), older, slice("b", "default/web", 2, []uint16{80}, "10.0.0.1"))
	if got := show(&Entry{Slices: []*Slice{older}}); !slices.Equal(got, []string{"10.0.0.1:80", "10.0.0.2:80"}) {
		t.Errorf("the received slice is now %v", got)
	}
	s.Delete(0, Ref{KindSlice, key("default/b")})
	if e := s.Service("default", "web"); len(e.Slices) != 1 || e.Slices[0] != older {
		t.Errorf("without the newer slice: %v", show(e))
	}
}

// TestEndpointsStops breaks out of every place of the iteration.
func TestEndpointsStops(t *testing.T) {
	s := NewStore()
	s.Put(0, service("default/web"), slice("a", "default/web", 1, []uint16{80}, "10.0.0.1", "10.0.0.2"),
		slice("b", "default/web", 1, []uint16{80}, "10.0.0.3"))
	for stop := range 4 {
		n := 0
		for range s.Service("default", "web").Endpoints() {
			if n++; n > stop {
				break
			}
		}
		if want := min(stop+1, 3); n != want {
			t.Errorf("stopped at %d, got %d, want %d", stop, n, want)
		}
	}
}
