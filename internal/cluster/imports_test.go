package cluster

import (
	"slices"
	"testing"
)

func importedSlice(name, of, id string, ips ...string) *ImportedSlice {
	s := slice(name, of, 1, []uint16{80}, ips...)
	s.Cluster = MakeAtom(id)
	return &ImportedSlice{s}
}

// A name of the set of clusters and the same name in this cluster are two Services,
// with endpoints of their own.
func TestImports(t *testing.T) {
	s := NewStore()
	imported := &ServiceImport{service("a/web", "10.1.0.1")}
	s.Put(7,
		service("a/web", "10.0.0.1"), slice("web-1", "a/web", 1, []uint16{80}, "10.2.0.1"),
		imported, importedSlice("web-1", "a/web", "east", "10.3.0.1"), importedSlice("web-2", "a/web", "west", "10.3.0.1", "10.3.0.2"),
	)
	counts := func() [4]int {
		return [4]int{s.Count(KindService), s.Count(KindSlice), s.Count(KindServiceImport), s.Count(KindImportedSlice)}
	}
	if got := counts(); got != [4]int{1, 1, 1, 2} {
		t.Errorf("counts %v", got)
	}
	e := s.Imports().Service("a", "web")
	if e == nil || e.Service.ClusterIPs[0] != imported.ClusterIPs[0] {
		t.Fatalf("the import is %v", e)
	}
	if v4, _ := e.Ready(); v4 != 2 {
		t.Errorf("%d ready endpoints in all clusters, want 2: one address is in two slices", v4)
	}
	for _, sl := range e.Slices {
		if sl.Cluster.String() != map[string]string{"web-1": "east", "web-2": "west"}[sl.Name] {
			t.Errorf("%s is of cluster %q", sl.Name, sl.Cluster)
		}
	}
	if v4, _ := s.Service("a", "web").Ready(); v4 != 1 {
		t.Errorf("the Service of this cluster has %d endpoints, want its own", v4)
	}
	if s.Owners(addrs("10.3.0.2")[0]).Valid() || !s.Imports().Owners(addrs("10.3.0.2")[0]).Valid() {
		t.Error("an address of another cluster is found in this one, or not in its own")
	}
	if s.Version() != 7 || s.Imports().Version() != 7 {
		t.Errorf("versions %d and %d", s.Version(), s.Imports().Version())
	}

	_, all := s.Contents()
	copied := NewStore()
	copied.Put(7, all...)
	if got := copied.Imports().Service("a", "web"); got == nil || len(got.Slices) != 2 || len(all) != 5 {
		t.Errorf("the contents hold %d objects, and make %v", len(all), got)
	}

	s.Replace(9, KindImportedSlice, []Object{importedSlice("web-2", "a/web", "west", "10.3.0.9")})
	if sl := s.Imports().Service("a", "web").Slices; len(sl) != 1 || sl[0].Name != "web-2" || sl[0].Endpoints[0].Addr != addrs("10.3.0.9")[0] {
		t.Errorf("after a fresh list: %v", sl)
	}
	s.Delete(10, imported.Ref(), Ref{KindImportedSlice, key("a/web-2")})
	if got := counts(); got != [4]int{1, 1, 0, 0} || s.Imports().Service("a", "web") != nil || s.Imports().Namespace("a") {
		t.Errorf("after the end of the import: %v", got)
	}
	s.Replace(11, KindServiceImport, []Object{imported, &ServiceImport{service("b/api", "10.1.0.2")}})
	s.Replace(12, KindServiceImport, []Object{&ServiceImport{service("b/api", "10.1.0.2")}})
	if names := slices.Collect(s.Imports().Namespaces()); !slices.Equal(names, []string{"b"}) {
		t.Errorf("namespaces with imports: %v", names)
	}
}

// Clusters may give their pods the same names and addresses: each has its own.
func TestPodsOfOneNameInTwoClusters(t *testing.T) {
	s := NewStore()
	s.Put(7, &ServiceImport{service("a/db")},
		importedSlice("db-1", "a/db", "east", "10.3.0.1=db-0#db-0"), importedSlice("db-2", "a/db", "west", "10.3.0.1=db-0#db-0"))
	if got, want := show(s.Imports().Service("a", "db")), []string{"10.3.0.1=db-0:80", "10.3.0.1=db-0*:80"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
