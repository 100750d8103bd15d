package manifest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// folder is the combined content of all files. It is pure: files go in, and changes for the
// Store come out.
type folder struct {
	files  map[string]*file         // by name
	places map[cluster.Ref][]string // the files with an object, sorted
	shown  map[cluster.Ref]*item    // the content of the Store

	// selective limits the objects to those in a Namespace that the files contain; other
	// Namespaces were not selected.
	selective bool
}

func newFolder(selective bool) *folder {
	return &folder{
		files: map[string]*file{}, places: map[cluster.Ref][]string{}, shown: map[cluster.Ref]*item{}, selective: selective,
	}
}

// edits maps names to new contents of files; nil for a removed file.
type edits map[string]*file

// changes are the updates of the Store for some edits.
type changes struct {
	put      []cluster.Object
	version  uint64 // the highest of those put, 0 if none has one
	gone     []cluster.Ref
	repeated []source.Problem
}

// apply applies edits. Its cost depends on the edited files.
func (f *folder) apply(e edits) changes {
	touched := map[cluster.Ref]struct{}{}
	for name, next := range e {
		if old := f.files[name]; old != nil {
			for ref := range old.byRef {
				f.places[ref] = slices.DeleteFunc(f.places[ref], func(s string) bool { return s == name })
				touched[ref] = struct{}{}
			}
		}
		delete(f.files, name)
		if next == nil {
			continue
		}
		f.files[name] = next
		for ref := range next.byRef {
			at, _ := slices.BinarySearch(f.places[ref], name)
			f.places[ref] = slices.Insert(f.places[ref], at, name)
			touched[ref] = struct{}{}
		}
	}
	return f.settle(touched)
}

// settle finds out which touched objects are new, changed or gone.
func (f *folder) settle(touched map[cluster.Ref]struct{}) changes {
	var c changes
	if f.selective {
		f.touchNamespaces(touched)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(touched), compareRefs) {
		names := f.places[ref]
		if len(names) == 0 {
			delete(f.places, ref)
		}
		next, old := f.last(ref), f.shown[ref]
		if next == nil || !f.selected(ref) {
			if old != nil {
				delete(f.shown, ref)
				c.gone = append(c.gone, ref)
			}
			continue
		}
		last := len(names) - 1
		f.shown[ref] = next
		if old == nil || old.sum != next.sum {
			c.put = append(c.put, next.object)
			c.version = max(c.version, next.version)
		}
		if last > 0 {
			other := f.files[names[last-1]].byRef[ref]
			c.repeated = append(c.repeated, repeated(ref, place(names[last], next.line), place(names[last-1], other.line)))
		}
	}
	return c
}

// last returns the applicable version of an object: the last one. It returns nil if that was
// not selected, or if there is none.
func (f *folder) last(ref cluster.Ref) *item {
	names := f.places[ref]
	if len(names) == 0 {
		return nil
	}
	it := f.files[names[len(names)-1]].byRef[ref]
	if it.hidden {
		return nil
	}
	return it
}

// selected reports whether the Namespace of an object exists, if that matters.
func (f *folder) selected(ref cluster.Ref) bool {
	if !f.selective || !ref.Kind.Namespaced() && ref.Kind != cluster.KindNamespace {
		return true
	}
	return f.last(cluster.Ref{Kind: cluster.KindNamespace, Key: cluster.Key{Name: namespaceOf(ref)}}) != nil
}

// touchNamespaces adds all objects of Namespaces that appear or disappear.
func (f *folder) touchNamespaces(touched map[cluster.Ref]struct{}) {
	changed := map[string]bool{}
	for ref := range touched {
		if ref.Kind == cluster.KindNamespace && (f.shown[ref] != nil) != f.selected(ref) {
			changed[ref.Key.Name] = true
		}
	}
	if len(changed) == 0 {
		return
	}
	for ref := range f.places {
		if changed[namespaceOf(ref)] {
			touched[ref] = struct{}{}
		}
	}
}

// compareRefs sorts Services before their slices, and makes runs deterministic.
func compareRefs(a, b cluster.Ref) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Key.Namespace, b.Key.Namespace),
		cmp.Compare(a.Key.Name, b.Key.Name),
	)
}
