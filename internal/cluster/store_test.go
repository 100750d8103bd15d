package cluster

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// picture writes down what a Store answers: Services with their endpoints, then
// what exists of the rest, then who owns each address of interest.
func picture(s *Store, interest ...string) []string {
	var out []string
	for e := range s.Services() {
		line := fmt.Sprint("service ", e.Service.Key)
		for _, a := range e.Service.ClusterIPs {
			line += " " + a.String()
		}
		if eps := show(e); len(eps) > 0 {
			line += " -> " + strings.Join(eps, " ")
		}
		out = append(out, line)
	}
	slices.Sort(out)
	for _, n := range slices.Sorted(s.Namespaces()) {
		out = append(out, "namespace "+n)
	}
	for _, a := range interest {
		owners := map[string]bool{}
		for o := s.Owners(netip.MustParseAddr(a)); o.Valid(); o = o.Next() {
			owners[o.Entry().Service.Key.String()] = true
		}
		if len(owners) > 0 {
			out = append(out, a+" of "+strings.Join(slices.Sorted(maps.Keys(owners)), " "))
		}
	}
	return out
}

// TestStore runs short stories; each step says all that is then to be read.
func TestStore(t *testing.T) {
	type step struct {
		name string
		do   func(*Store)
		want []string
	}
	put := func(objects ...Object) func(*Store) { return func(s *Store) { s.Put(1, objects...) } }
	del := func(kind Kind, k string) func(*Store) { return func(s *Store) { s.Delete(1, Ref{kind, key(k)}) } }
	webSlice := func(list ...string) *Slice { return slice("web-x", "default/web", 1, []uint16{80}, list...) }
	tests := []struct {
		name     string
		interest []string
		steps    []step
	}{{
		"nothing", []string{"10.0.0.1"}, []step{
			{"at first", func(*Store) {}, nil},
			{"what is not there is passed over", func(s *Store) {
				for kind := range kindCount {
					s.Delete(1, Ref{kind, key("default/web")})
				}
			}, nil},
		},
	}, {
		"ClusterIPs", []string{"10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00::1"}, []step{
			{"one", put(service("default/web", "10.96.0.1")),
				[]string{"service default/web 10.96.0.1", "namespace default", "10.96.0.1 of default/web"}},
			{"a second family", put(service("default/web", "10.96.0.1", "fd00::1")),
				[]string{"service default/web 10.96.0.1 fd00::1", "namespace default", "10.96.0.1 of default/web", "fd00::1 of default/web"}},
			{"another address", put(service("default/web", "10.96.0.2")),
				[]string{"service default/web 10.96.0.2", "namespace default", "10.96.0.2 of default/web"}},
			{"twice the same, which the API does not allow", put(service("default/web", "10.96.0.3", "10.96.0.3")),
				[]string{"service default/web 10.96.0.3 10.96.0.3", "namespace default", "10.96.0.3 of default/web"}},
			{"once again", put(service("default/web", "10.96.0.3")),
				[]string{"service default/web 10.96.0.3", "namespace default", "10.96.0.3 of default/web"}},
			{"now headless", put(service("default/web")), []string{"service default/web", "namespace default"}},
		},
	}, {
		"an ExternalName has no address", nil, []step{
			{"put", put(&Service{Key: key("default/db"), Type: ExternalName, External: &External{Name: "db.example.org"}}),
				[]string{"service default/db", "namespace default"}},
		},
	}, {
		"slices wait for their Service", []string{"10.0.0.1", "10.0.0.2"}, []step{
			{"slice first", put(webSlice("10.0.0.1", "10.0.0.2-")), nil},
			{"Service", put(service("default/web")),
				[]string{"service default/web -> 10.0.0.1:80 10.0.0.2-:80", "namespace default", "10.0.0.1 of default/web"}},
			{"Service deleted", del(KindService, "default/web"), nil},
			{"back again", put(service("default/web")),
				[]string{"service default/web -> 10.0.0.1:80 10.0.0.2-:80", "namespace default", "10.0.0.1 of default/web"}},
			{"slice deleted", del(KindSlice, "default/web-x"), []string{"service default/web", "namespace default"}},
		},
	}, {
		"endpoints come and go", []string{"10.0.0.1", "10.0.0.2"}, []step{
			{"both", put(service("default/web"), webSlice("10.0.0.1", "10.0.0.2")),
				[]string{"service default/web -> 10.0.0.1:80 10.0.0.2:80", "namespace default", "10.0.0.1 of default/web", "10.0.0.2 of default/web"}},
			{"one is not ready", put(webSlice("10.0.0.1", "10.0.0.2-")),
				[]string{"service default/web -> 10.0.0.1:80 10.0.0.2-:80", "namespace default", "10.0.0.1 of default/web"}},
			{"none is listed", put(webSlice()), []string{"service default/web", "namespace default"}},
		},
	}, {
		"a slice gets another Service", []string{"10.0.0.1"}, []step{
			{"at first", put(service("default/web"), service("default/api"), webSlice("10.0.0.1")),
				[]string{"service default/api", "service default/web -> 10.0.0.1:80", "namespace default", "10.0.0.1 of default/web"}},
			{"then", put(slice("web-x", "default/api", 2, []uint16{80}, "10.0.0.1")),
				[]string{"service default/api -> 10.0.0.1:80", "service default/web", "namespace default", "10.0.0.1 of default/api"}},
			{"then one that does not exist", put(slice("web-x", "default/none", 3, []uint16{80}, "10.0.0.1")),
				[]string{"service default/api", "service default/web", "namespace default"}},
		},
	}, {
		"one address, several roles", []string{"10.0.0.1"}, []step{
			{"pod of two Services and ClusterIP of a third", put(service("default/a"), service("default/b"), service("kube-system/c", "10.0.0.1"),
				slice("a-x", "default/a", 1, []uint16{80}, "10.0.0.1"), slice("b-x", "default/b", 1, []uint16{80}, "10.0.0.1")),
				[]string{"service default/a -> 10.0.0.1:80", "service default/b -> 10.0.0.1:80", "service kube-system/c 10.0.0.1",
					"namespace default", "namespace kube-system", "10.0.0.1 of default/a default/b kube-system/c"}},
			{"ClusterIP and endpoint of one Service", put(service("default/a", "10.0.0.1")),
				[]string{"service default/a 10.0.0.1 -> 10.0.0.1:80", "service default/b -> 10.0.0.1:80", "service kube-system/c 10.0.0.1",
					"namespace default", "namespace kube-system", "10.0.0.1 of default/a default/b kube-system/c"}},
			{"no more as an endpoint", del(KindSlice, "default/a-x"),
				[]string{"service default/a 10.0.0.1", "service default/b -> 10.0.0.1:80", "service kube-system/c 10.0.0.1",
					"namespace default", "namespace kube-system", "10.0.0.1 of default/a default/b kube-system/c"}},
			{"nor as ClusterIP", put(service("default/a")),
				[]string{"service default/a", "service default/b -> 10.0.0.1:80", "service kube-system/c 10.0.0.1",
					"namespace default", "namespace kube-system", "10.0.0.1 of default/b kube-system/c"}},
		},
	}, {
		"a namespace lives as long as its Services", nil, []step{
			{"a Service alone", put(service("shop/web")), []string{"service shop/web", "namespace shop"}},
			{"declared", put(&Namespace{"shop"}), []string{"service shop/web", "namespace shop"}},
			{"no more declared", del(KindNamespace, "shop"), []string{"service shop/web", "namespace shop"}},
			{"the Service goes", del(KindService, "shop/web"), nil},
			{"declared and empty", put(&Namespace{"shop"}), []string{"namespace shop"}},
			{"twice", put(&Namespace{"shop"}), []string{"namespace shop"}},
			{"a slice alone is no reason", put(slice("x", "other/web", 1, nil, "10.0.0.1")), []string{"namespace shop"}},
			{"deleted", del(KindNamespace, "shop"), nil},
		},
	}, {
		"a namespace and its Services go in one call", nil, []step{
			{"at first", put(&Namespace{"shop"}, service("shop/a"), service("shop/b")),
				[]string{"service shop/a", "service shop/b", "namespace shop"}},
			{"at last", func(s *Store) {
				s.Delete(1, Ref{KindNamespace, key("shop")}, Ref{KindService, key("shop/a")}, Ref{KindService, key("shop/b")})
			}, nil},
		},
	}, {
		"the last of one key in a call counts", []string{"10.96.0.1", "10.96.0.2"}, []step{
			{"twice in a Put", put(service("default/web", "10.96.0.1"), service("default/web", "10.96.0.2")),
				[]string{"service default/web 10.96.0.2", "namespace default", "10.96.0.2 of default/web"}},
			{"twice in a Replace", func(s *Store) {
				s.Replace(1, KindService, []Object{service("default/web", "10.96.0.2"), service("default/web", "10.96.0.1")})
			}, []string{"service default/web 10.96.0.1", "namespace default", "10.96.0.1 of default/web"}},
		},
	}, {
		"fresh lists", []string{"10.0.0.1", "10.0.0.2", "10.96.0.1"}, []step{
			{"at first", put(service("default/web", "10.96.0.1"), service("default/old"), webSlice("10.0.0.1"), slice("old-x", "default/old", 1, []uint16{80}, "10.0.0.2")),
				[]string{"service default/old -> 10.0.0.2:80", "service default/web 10.96.0.1 -> 10.0.0.1:80", "namespace default",
					"10.0.0.1 of default/web", "10.0.0.2 of default/old", "10.96.0.1 of default/web"}},
			{"of slices", func(s *Store) {
				s.Replace(2, KindSlice, []Object{slice("new-x", "default/web", 2, []uint16{80}, "10.0.0.1", "10.0.0.2")})
			}, []string{"service default/old", "service default/web 10.96.0.1 -> 10.0.0.1:80 10.0.0.2:80", "namespace default",
				"10.0.0.1 of default/web", "10.0.0.2 of default/web", "10.96.0.1 of default/web"}},
			{"of Services", func(s *Store) { s.Replace(3, KindService, []Object{service("default/web")}) },
				[]string{"service default/web -> 10.0.0.1:80 10.0.0.2:80", "namespace default", "10.0.0.1 of default/web", "10.0.0.2 of default/web"}},
			{"of no Services", func(s *Store) { s.Replace(4, KindService, nil) }, nil},
			{"of no slices", func(s *Store) { s.Replace(5, KindSlice, nil) }, nil},
		},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := NewStore()
			for _, step := range test.steps {
				step.do(s)
				if got := picture(s, test.interest...); !slices.Equal(got, step.want) {
					t.Fatalf("%s: got\n  %s\nwant\n  %s", step.name, strings.Join(got, "\n  "), strings.Join(step.want, "\n  "))
				}
			}
		})
	}
}

// TestExternalAddresses are kept with the Service and belong to no zone of the
// cluster: Owners and HasAddressIn do not know them.
func TestExternalAddresses(t *testing.T) {
	svc := &Service{
		Key:        key("default/web"),
		Type:       LoadBalancer,
		ClusterIPs: addrs("10.96.0.1"),
		Ports:      []ServicePort{{Name: "http", Number: 80, NodePort: 30080, Protocol: TCP}},
		Created:    1_700_000_000,
		External:   &External{IPs: addrs("192.0.2.1"), LB: addrs("198.51.100.1")},
	}
	s := NewStore()
	s.Put(1, svc)
	if got := s.Service("default", "web").Service; got != svc {
		t.Errorf("got %+v, want the Service that was put", got)
	}
	for _, a := range slices.Concat(svc.External.IPs, svc.External.LB) {
		if s.Owners(a).Valid() || s.HasAddressIn(host(a)) {
			t.Errorf("%v has an owner", a)
		}
	}
}

func TestPods(t *testing.T) {
	s := NewStore()
	pod := func(k string, list ...string) *Pod {
		return &Pod{Key: key(k), Addrs: addrs(list...), Labels: MakeLabels(map[string]string{"app": "web"})}
	}
	steps := []struct {
		name string
		do   func()
		want map[string]string // namespace@address: name
	}{
		{"two families", func() { s.Put(1, pod("a/web", "10.0.0.1", "fd00::1")) },
			map[string]string{"a@10.0.0.1": "web", "a@fd00::1": "web"}},
		{"another namespace in the host's network", func() { s.Put(1, pod("b/agent", "10.0.0.1")) },
			map[string]string{"a@10.0.0.1": "web", "a@fd00::1": "web", "b@10.0.0.1": "agent"}},
		{"another address", func() { s.Put(1, pod("a/web", "10.0.0.2")) },
			map[string]string{"a@10.0.0.2": "web", "b@10.0.0.1": "agent"}},
		{"an address twice", func() { s.Put(1, pod("a/web", "10.0.0.2", "10.0.0.2")) },
			map[string]string{"a@10.0.0.2": "web", "b@10.0.0.1": "agent"}},
		{"without addresses", func() { s.Put(1, pod("a/web")) }, map[string]string{"b@10.0.0.1": "agent"}},
		{"the successor has the address first", func() { s.Put(1, pod("b/agent-2", "10.0.0.1")); s.Delete(1, pod("b/agent").Ref()) },
			map[string]string{"b@10.0.0.1": "agent-2"}},
		{"a fresh list", func() { s.Replace(2, KindPod, []Object{pod("a/web", "10.0.0.3")}) },
			map[string]string{"a@10.0.0.3": "web"}},
		{"an empty one", func() { s.Replace(3, KindPod, nil) }, map[string]string{}},
	}
	for _, step := range steps {
		step.do()
		got := map[string]string{}
		for _, namespace := range []string{"a", "b", "c"} {
			for _, a := range addrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1") {
				if p := s.PodAt(namespace, a); p != nil {
					got[namespace+"@"+a.String()] = p.Name
				}
			}
		}
		if !maps.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
	if s.podAddrs.within(netip.MustParsePrefix("0.0.0.0/0")) {
		t.Error("addresses are left over")
	}
}

func TestNodes(t *testing.T) {
	s := NewStore()
	n1, n1b := &Node{Name: "n1", Zone: MakeAtom("a")}, &Node{Name: "n1", Zone: MakeAtom("b")}
	s.Put(1, n1, &Node{Name: "n2"})
	if got := slices.Sorted(func(yield func(string) bool) {
		for n := range s.Nodes() {
			if !yield(n.Name) {
				return
			}
		}
	}); !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("nodes: got %v, want n1 and n2", got)
	}
	if got := s.Node("n1"); got != n1 {
		t.Errorf("Node(n1) = %v", got)
	}
	s.Replace(2, KindNode, []Object{n1b})
	if got := s.Node("n1"); got != n1b {
		t.Errorf("after a fresh list: Node(n1) = %v", got)
	}
	if got := s.Node("n2"); got != nil {
		t.Errorf("after a fresh list: Node(n2) = %v", got)
	}
	s.Delete(3, n1.Ref())
	if got := s.Node("n1"); got != nil {
		t.Errorf("deleted: Node(n1) = %v", got)
	}
}

// TestCountAndVersion follows the numbers that become metrics and the serial.
func TestCountAndVersion(t *testing.T) {
	s := NewStore()
	objects := [kindCount]Object{
		service("a/web"), slice("x", "b/waiting", 1, nil, "10.0.0.1"), &Namespace{"c"}, &Pod{Key: key("d/p")}, &Node{Name: "n"}, &ServiceCIDR{Name: "c"},
		&ServiceImport{service("a/web")}, importedSlice("x", "a/web", "east", "10.3.0.1"),
	}
	steps := []struct {
		name    string
		do      func()
		counts  [kindCount]int
		version uint64
	}{
		{"nothing", func() {}, [kindCount]int{}, 0},
		{"one of each", func() { s.Put(5, objects[:]...) }, [kindCount]int{1, 1, 1, 1, 1, 1, 1, 1}, 5},
		{"the same again, without a version", func() { s.Put(0, objects[:]...) }, [kindCount]int{1, 1, 1, 1, 1, 1, 1, 1}, 5},
		{"an older version", func() { s.Put(3, &Node{Name: "n2"}) }, [kindCount]int{1, 1, 1, 1, 2, 1, 1, 1}, 5},
		{"a bookmark", func() { s.Put(7) }, [kindCount]int{1, 1, 1, 1, 2, 1, 1, 1}, 7},
		{"deletions", func() { s.Delete(9, objects[KindSlice].Ref(), objects[KindNamespace].Ref()) }, [kindCount]int{1, 0, 0, 1, 2, 1, 1, 1}, 9},
		{"deletions again", func() { s.Delete(9, objects[KindSlice].Ref(), objects[KindNamespace].Ref()) }, [kindCount]int{1, 0, 0, 1, 2, 1, 1, 1}, 9},
		{"fresh lists", func() {
			for kind, o := range objects {
				s.Replace(11, Kind(kind), []Object{o})
			}
		}, [kindCount]int{1, 1, 1, 1, 1, 1, 1, 1}, 11},
		{"empty lists", func() {
			for kind := range objects {
				s.Replace(12, Kind(kind), nil)
			}
		}, [kindCount]int{}, 12},
	}
	for _, step := range steps {
		step.do()
		for kind := range kindCount {
			if got := s.Count(kind); got != step.counts[kind] {
				t.Errorf("%s: Count(%v) = %d, want %d", step.name, kind, got, step.counts[kind])
			}
		}
		if got := s.Version(); got != step.version {
			t.Errorf("%s: Version() = %d, want %d", step.name, got, step.version)
		}
	}
}

// TestDeletingNothingLeavesNothing deletes what never was, as a feed may after a
// restart: no cell may stay behind for it.
func TestDeletingNothingLeavesNothing(t *testing.T) {
	s := NewStore()
	for i := range 1000 {
		for kind := range kindCount {
			s.Delete(1, Ref{kind, Key{"default", fmt.Sprint("absent-", i)}})
		}
	}
	if used := s.services.used + s.namespaces.used + s.pods.used + s.nodes.used; used != 0 {
		t.Errorf("%d cells for what never was", used)
	}
}

func TestSynced(t *testing.T) {
	s := NewStore()
	s.Put(1, service("default/web"))
	select {
	case <-s.SyncDone():
		t.Error("SyncDone is closed before MarkSynced")
	default:
	}
	if s.Synced() {
		t.Error("synced before MarkSynced")
	}
	s.MarkSynced()
	s.MarkSynced()
	<-s.SyncDone()
	if !s.Synced() {
		t.Error("not synced after MarkSynced")
	}
}

// TestOwnerOutlivesItsService holds a cursor over deletion and return of the
// Service, with rebuilds of the table in between.
func TestOwnerOutlivesItsService(t *testing.T) {
	s := NewStore()
	s.Put(1, service("default/web", "10.96.0.1"), slice("web-x", "default/web", 1, []uint16{80}, "10.0.0.1"))
	o := s.Owners(netip.MustParseAddr("10.96.0.1"))
	s.Delete(2, Ref{KindService, key("default/web")})
	if o.Entry() != nil {
		t.Error("the Service is deleted, its slices wait, and the cursor has an Entry")
	}
	s.Delete(2, Ref{KindSlice, key("default/web-x")})
	if !o.Valid() || o.Entry() != nil || o.Next().Valid() {
		t.Errorf("cursor on a deleted Service: valid %v, entry %v", o.Valid(), o.Entry())
	}
	for i := range 1000 { // the dead cell is dropped
		s.Put(3, service(fmt.Sprintf("default/passing-%d", i), nth("10.97.0.0", i).String()))
	}
	s.Put(4, service("default/web", "10.96.0.2"))
	if e := o.Entry(); e != nil {
		t.Errorf("the old cursor has %v", e.Service)
	}
	o = s.Owners(netip.MustParseAddr("10.96.0.2"))
	if !o.Valid() || o.Entry() != s.Service("default", "web") {
		t.Error("the Service that came back is not the owner of its address")
	}
	if s.Owners(netip.MustParseAddr("10.96.0.1")).Valid() {
		t.Error("its old address has an owner")
	}
}

func TestZeroOwner(t *testing.T) {
	if (Owner{}).Valid() {
		t.Error("the zero Owner is valid")
	}
}

// TestIterationsStop breaks out of Services and Namespaces.
func TestIterationsStop(t *testing.T) {
	s := NewStore()
	for i := range 10 {
		s.Put(1, service(fmt.Sprintf("ns-%d/web", i)))
	}
	services, namespaces := 0, 0
	for range s.Services() {
		if services++; services == 3 {
			break
		}
	}
	for range s.Namespaces() {
		if namespaces++; namespaces == 3 {
			break
		}
	}
	if services != 3 || namespaces != 3 {
		t.Errorf("stopped after %d and %d, want 3", services, namespaces)
	}
}

// TestStoreByName: by name all is as in any Store, and no address has an owner.
func TestStoreByName(t *testing.T) {
	lb := service("default/web", "10.96.0.1")
	lb.External = &External{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	objects := []Object{
		lb, slice("web-x", "default/web", 1, []uint16{80}, "10.0.0.1", "10.0.0.2"),
		&Pod{Key: key("default/web-a"), Addrs: addrs("10.0.0.1")},
		&ImportedSlice{slice("web-y", "default/web", 1, []uint16{80}, "10.9.0.1")}, &ServiceImport{service("default/web", "10.97.0.1")},
	}
	s, full := NewStoreByName(), NewStore()
	s.Put(1, objects...)
	full.Put(1, objects...)
	for _, of := range [][2]*Store{{s, full}, {s.Imports(), full.Imports()}} {
		if got, want := picture(of[0]), picture(of[1]); len(want) < 2 || !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, a := range addrs("10.96.0.1", "10.97.0.1", "10.0.0.1", "10.9.0.1", "192.0.2.1") {
			if of[0].Owners(a).Valid() || of[0].OwnersOutside(a).Valid() || of[0].PodAt("default", a) != nil {
				t.Errorf("%v is indexed", a)
			}
		}
	}
	if full.PodAt("default", netip.MustParseAddr("10.0.0.1")) == nil {
		t.Error("the pod has no address at all")
	}
	s.Delete(2, Ref{KindService, key("default/web")}, Ref{KindPod, key("default/web-a")})
	if e := s.Service("default", "web"); e != nil {
		t.Errorf("after its deletion: %v", e)
	}
}
