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

// Imports returns the index of ServiceImports with the endpoints of all clusters. It is a
// Store of its own, because the same name stands for a different Service there. Writes go
// through this Store, which knows when all kinds are synced.
func (s *Store) Imports() *Store { return s.imports }

func (i *ServiceImport) put(w *write) { i.Service.put(w.imported()) }

func (s *ImportedSlice) put(w *write) { s.Slice.put(w.imported()) }

// imported returns the part of a write for the imports. The lock of the Store guards them
// too.
func (w *write) imported() *write {
	if w.imports == nil {
		w.imports = &write{store: w.store.imports}
	}
	return w.imports
}

// keysOfImports returns the keys of ServiceImports or of their slices.
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
