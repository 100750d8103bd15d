package cluster

// ServiceImport is a Service of a set of clusters, as this cluster sees it
// (multicluster.x-k8s.io, KEP-1645). Its ClusterIPs are those of the set.
type ServiceImport struct{ *Service }

// Ref implements Object.
func (i *ServiceImport) Ref() Ref { return Ref{KindServiceImport, i.Key} }

// ImportedSlice is an EndpointSlice of one of these clusters: Service is the key of
// the ServiceImport, and Cluster is the id of the cluster.
type ImportedSlice struct{ *Slice }

// Ref implements Object.
func (s *ImportedSlice) Ref() Ref { return Ref{KindImportedSlice, s.Key} }

// Imports is the index of ServiceImports with the endpoints of all clusters. It is
// a Store of its own, because a name in it is another Service than the same name
// in this cluster; it is written through this one, which knows when all is synced.
func (s *Store) Imports() *Store { return s.imports }

func (i *ServiceImport) put(w *write) { i.Service.put(w.imported()) }

func (s *ImportedSlice) put(w *write) { s.Slice.put(w.imported()) }

// imported is the part of a write that goes to the imports. The lock of the Store
// guards them too.
func (w *write) imported() *write {
	if w.imports == nil {
		w.imports = &write{store: w.store.imports}
	}
	return w.imports
}

// keysOfImports lists what the imports hold of a kind of theirs.
func (s *Store) keysOfImports(kind Kind) []Key {
	if kind == KindServiceImport {
		return s.imports.keys(KindService)
	}
	return s.imports.keys(KindSlice)
}

// importedContents returns every object of the imports as the feed put it.
func (s *Store) importedContents() (objects []Object) {
	for e := range s.imports.Services() {
		objects = append(objects, &ServiceImport{e.Service})
	}
	for _, sl := range s.imports.slices {
		objects = append(objects, &ImportedSlice{sl})
	}
	return objects
}
