package kube

import (
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

func serviceImport(name string, ips ...string) *mcsv1alpha1.ServiceImport {
	return &mcsv1alpha1.ServiceImport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       mcsv1alpha1.ServiceImportSpec{Type: mcsv1alpha1.ClusterSetIP, IPs: ips},
	}
}

func importedSlice(of, id, ip string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: of + "-" + id, Labels: map[string]string{
			mcsv1alpha1.LabelServiceName: of, mcsv1alpha1.LabelSourceCluster: id,
		}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}},
	}
}

func withImports(o *Options) {
	o.Kinds = append(slices.Clone(o.Kinds), cluster.KindServiceImport, cluster.KindImportedSlice)
}

// Before somebody defines ServiceImports nothing else is held up, and a line says
// what is missing; once they are defined, they are there.
func TestImportsThatAreDefinedLater(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		want   string
	}{{"not defined", 404, "want an API server that has serviceimports in multicluster.x-k8s.io/v1alpha1"}, {"forbidden", 403, "want a ClusterRole"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := api.New(t)
			server.Put(oneOfEach()...)
			server.Put(serviceImport("web", "10.42.0.1"), importedSlice("web", "east", "10.3.0.1"))
			server.RefuseKind("serviceimports", c.status)
			l := newLab(t, server, withImports)
			l.synced()
			l.until("a line", func() bool {
				return slices.ContainsFunc(l.loud(), func(s string) bool { return strings.Contains(s, c.want) })
			})
			if l.store.Imports().Service("default", "web") != nil {
				t.Error("an import that was not given")
			}
			server.RefuseKind("serviceimports", 0)
			l.until("the import", func() bool {
				e := l.store.Imports().Service("default", "web")
				return e != nil && len(e.Slices) == 1 && e.Slices[0].Cluster.String() == "east"
			})
		})
	}
}

// Imports follow what changes, and slices of this cluster stay apart from those of
// imports, also if one object is both.
func TestImportsFollow(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	both := importedSlice("web", "east", "10.3.0.1")
	both.Labels[discoveryv1.LabelServiceName] = "derived"
	server.Put(serviceImport("web", "10.42.0.1"), both)
	l := newLab(t, server, withImports)
	l.synced()
	ready := func() int {
		e := l.store.Imports().Service("default", "web")
		if e == nil {
			return -1
		}
		v4, _ := e.Ready()
		return v4
	}
	l.until("the first list", func() bool { return ready() == 1 })
	slices4 := l.store.Count(cluster.KindSlice)
	server.Put(importedSlice("web", "west", "10.3.0.2"))
	l.until("another cluster", func() bool { return ready() == 2 })
	if n := l.store.Count(cluster.KindSlice); n != slices4 {
		t.Errorf("%d slices of this cluster, want %d", n, slices4)
	}
	server.Delete(importedSlice("web", "east", ""))
	l.until("one that goes", func() bool { return ready() == 1 })
	server.Delete(serviceImport("web"))
	l.until("the import that goes", func() bool { return ready() == -1 })
}
