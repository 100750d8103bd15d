package cluster

import (
	"fmt"
	"testing"
	"unsafe"
)

func TestStrings(t *testing.T) {
	tests := []struct {
		name string
		in   fmt.Stringer
		want string
	}{
		{"namespaced key", Key{"default", "web"}, "default/web"},
		{"key of a node", Key{Name: "node-1"}, "node-1"},
		{"zero key", Key{}, ""},
		{"services", KindService, "services"},
		{"slices", KindSlice, "endpointslices"},
		{"namespaces", KindNamespace, "namespaces"},
		{"pods", KindPod, "pods"},
		{"nodes", KindNode, "nodes"},
		{"ranges of ClusterIPs", KindServiceCIDR, "servicecidrs"},
		{"Services of a set of clusters", KindServiceImport, "serviceimports"},
		{"their slices", KindImportedSlice, "imported endpointslices"},
		{"no kind", kindCount, "unknown"},
		{"any other kind", Kind(255), "unknown"},
		{"tcp", TCP, "tcp"},
		{"udp", UDP, "udp"},
		{"sctp", SCTP, "sctp"},
		{"no protocol", Protocol(0), "unknown"},
		{"an atom", MakeAtom("node-1"), "node-1"},
		{"an atom of nothing", MakeAtom(""), ""},
		{"the zero atom", Atom{}, ""},
	}
	kinds := 0
	for _, test := range tests {
		if k, ok := test.in.(Kind); ok && k < kindCount {
			kinds++
		}
		t.Run(test.name, func(t *testing.T) {
			if got := test.in.String(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if kinds != int(kindCount) {
		t.Errorf("%d kinds in the table, there are %d", kinds, kindCount)
	}
}

// TestProtocolNumbers are IANA's, because they go into packets and kernels as they are.
func TestProtocolNumbers(t *testing.T) {
	for p, want := range map[Protocol]uint8{TCP: 6, UDP: 17, SCTP: 132} {
		if uint8(p) != want {
			t.Errorf("%v is %d, want %d", p, uint8(p), want)
		}
	}
}

// TestServiceTypes are in the order in which each does what the one before does.
func TestServiceTypes(t *testing.T) {
	types := []ServiceType{ClusterIP, NodePort, LoadBalancer, ExternalName}
	for i, st := range types {
		if int(st) != i {
			t.Errorf("type %d is %d", i, st)
		}
	}
	var zero Service
	if zero.Type != ClusterIP {
		t.Errorf("the zero Service has type %d, want ClusterIP as in the API", zero.Type)
	}
}

func TestAtom(t *testing.T) {
	if MakeAtom("zone-a") != MakeAtom(fmt.Sprint("zone", "-a")) {
		t.Error("two atoms of one text differ")
	}
	if MakeAtom("zone-a") == MakeAtom("zone-b") {
		t.Error("atoms of two texts are equal")
	}
	if MakeAtom("") != (Atom{}) {
		t.Error("the atom of the empty text is not the zero one")
	}
	if size := unsafe.Sizeof(Atom{}); size != unsafe.Sizeof(uintptr(0)) {
		t.Errorf("an atom takes %d B, want a pointer's", size)
	}
}

func TestAtomLists(t *testing.T) {
	tests := []struct {
		list, name string
		want       bool
	}{
		{"", "", false},
		{"a", "", false},
		{"", "a", false},
		{"zone-a", "zone-a", true},
		{"zone-a", "zone", false},
		{"zone-a,zone-b", "zone-b", true},
		{"zone-a,zone-b", "zone-a,zone-b", true}, // no name has a comma
		{"zone-a,zone-b", "zone-c", false},
	}
	for _, test := range tests {
		if got := MakeAtom(test.list).Lists(MakeAtom(test.name)); got != test.want {
			t.Errorf("%q lists %q: %v, want %v", test.list, test.name, got, test.want)
		}
	}
}

func TestConditions(t *testing.T) {
	tests := []struct {
		name    string
		c, want Conditions
		has     bool
	}{
		{"ready is ready", Ready | Serving, Ready, true},
		{"ready and serving", Ready | Serving, Ready | Serving, true},
		{"terminating is not ready", Serving | Terminating, Ready, false},
		{"not both", Serving | Terminating, Ready | Serving, false},
		{"repeated stands beside", Ready | Repeated, Repeated, true},
		{"nothing has nothing", 0, 0, true},
		{"nothing is not ready", 0, Ready, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.c.Has(test.want); got != test.has {
				t.Errorf("%b.Has(%b) = %v", test.c, test.want, got)
			}
		})
	}
}

func TestRef(t *testing.T) {
	tests := []struct {
		name   string
		object Object
		want   Ref
	}{
		{"service", &Service{Key: key("default/web")}, Ref{KindService, Key{"default", "web"}}},
		{"slice", slice("web-x", "default/web", 1, nil), Ref{KindSlice, Key{"default", "web-x"}}},
		{"namespace", &Namespace{"default"}, Ref{KindNamespace, Key{Name: "default"}}},
		{"pod", &Pod{Key: key("default/web-0")}, Ref{KindPod, Key{"default", "web-0"}}},
		{"node", &Node{Name: "node-1"}, Ref{KindNode, Key{Name: "node-1"}}},
		{"range of ClusterIPs", &ServiceCIDR{Name: "kubernetes"}, Ref{KindServiceCIDR, Key{Name: "kubernetes"}}},
		{"import", &ServiceImport{service("default/web")}, Ref{KindServiceImport, Key{"default", "web"}}},
		{"imported slice", importedSlice("web-x", "default/web", "east"), Ref{KindImportedSlice, Key{"default", "web-x"}}},
	}
	if len(tests) != int(kindCount) {
		t.Errorf("%d kinds in the table, there are %d", len(tests), kindCount)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.object.Ref(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestNamespaced(t *testing.T) {
	for kind := range kindCount {
		want := kind != KindNamespace && kind != KindNode && kind != KindServiceCIDR
		if kind.Namespaced() != want {
			t.Errorf("%v: %v", kind, !want)
		}
	}
}

// TestPodID: snapshots hold IDs, so they are the same in every process.
func TestPodID(t *testing.T) {
	ids := map[PodID][]string{}
	for _, names := range [][]string{
		{"Pod", "shop", "db-0"}, {"Pod", "shop", "db-1"}, {"Pod", "shop", "db-10"}, {"Pod", "sho", "pdb-0"}, {"Pod", "shop-db", "0"},
		{"", "", ""}, {"", ""}, {}, {"fd8a3b52-8a3e-4f3b-9d0c-1d2a5a6f1c11"}, {"fd8a3b52-8a3e-4f3b-9d0c-1d2a5a6f1c12"},
	} {
		id := MakePodID(names...)
		if id == 0 || ids[id] != nil || id != MakePodID(names...) {
			t.Errorf("%q has the ID %d, as %q has", names, id, ids[id])
		}
		ids[id] = append(names, "")
	}
	if got := MakePodID("Pod", "shop", "db-0"); got != 0x1daf4d45 {
		t.Errorf("MakePodID is not what it was: %#x", got)
	}
}
