package signpost

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Names of Services of a set of clusters, clusterset.local: see KEP-1645 and its
// specification 1.0.0, multi-cluster DNS. They are those of ServiceImports, which
// the index holds as Services with the endpoints of all clusters.

// markClusterset says which zones are those of a set of clusters.
func markClusterset(zones []zone, names []string) {
	for i := range zones {
		if slices.Contains(names, zones[i].name) {
			zones[i].tree = clustersetTree
		}
	}
}

// clustersetHome is the first zone of a set of clusters, where PTR records point;
// nil if there is none.
func (s *Signpost) clustersetHome() *zone {
	if len(s.clusterset) == 0 {
		return nil
	}
	return s.zoneNamed(s.clusterset[0])
}

// index is where the Services of a zone are.
func (s *Signpost) index(z *zone) *cluster.Store {
	if z.tree == clustersetTree {
		return s.store.Imports()
	}
	return s.store
}

// belowImport finds a name under that of a ServiceImport: a port, or an endpoint of
// one cluster if it is headless. That of a set with an address must not lead to the
// backends of one cluster (specification §2.3.4).
func belowImport(e *cluster.Entry, kind nodeKind, name string) node {
	rest, label := cutLast(name)
	if _, isProtocol := protocolOf(label); isProtocol {
		return below(e, kind, name)
	}
	if kind != headless {
		return nodeMissing
	}
	part := inCluster(e, label)
	switch {
	case !part.HasReady():
		return nodeMissing
	case rest == "":
		return nodeEmpty
	}
	n := below(part, headless, rest)
	if n.kind == endpoint {
		return n
	}
	return nodeMissing
}

// inCluster is what a ServiceImport has in one cluster.
func inCluster(e *cluster.Entry, id string) *cluster.Entry {
	part := &cluster.Entry{Service: e.Service}
	for _, sl := range e.Slices {
		if sl.Cluster.String() == id {
			part.Slices = append(part.Slices, sl)
		}
	}
	return part
}

// clustersOf are the ids of the clusters where a ServiceImport has slices, each once.
func clustersOf(e *cluster.Entry) []string {
	var ids []string
	for _, sl := range e.Slices {
		if id := sl.Cluster.String(); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// importPointer returns the name to which an address of a set of clusters leads
// back; it is asked for where this cluster has none (specification §2.3.3, §2.4.3).
func (s *Signpost) importPointer(a netip.Addr) (string, bool) {
	home := s.clustersetHome()
	if home == nil {
		return "", false
	}
	for o := s.store.Imports().Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		switch {
		case kind == clusterIP && slices.Contains(e.Service.ClusterIPs, a) && fits(home.service(e.Service.Key)):
			return home.service(e.Service.Key), true
		case kind != headless:
			continue
		}
		for _, sl := range e.Slices {
			for i, list := 0, sl.At(a); i < len(list); i++ {
				name := endpointLabel(&list[i]) + "." + sl.Cluster.String() + "." + home.service(e.Service.Key)
				if list[i].Has(cluster.Ready) && fits(name) {
					return name, true
				}
			}
		}
	}
	return "", false
}

func (s *Signpost) hasImportPointer(a netip.Addr) bool {
	_, has := s.importPointer(a)
	return has
}

// hasAddressIn reports whether any name may lead back from an address inside p.
func (s *Signpost) hasAddressIn(p netip.Prefix) bool {
	return s.store.HasAddressIn(p) || len(s.clusterset) > 0 && s.store.Imports().HasAddressIn(p)
}
