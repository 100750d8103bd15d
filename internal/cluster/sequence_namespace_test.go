package cluster

import (
	"slices"

	"pgregory.net/rapid"
)

// RelistNamespace replaces the objects of a kind in one namespace, or drops them.
func (p *pair) RelistNamespace(t *rapid.T) {
	version := rapid.Uint64Range(0, 100).Draw(t, "resourceVersion")
	kind := rapid.SampledFrom([]Kind{KindService, KindSlice, KindPod}).Draw(t, "kind")
	list := rapid.SliceOfN(genObject[kind], 0, 5).Draw(t, "objects")
	namespace := genKeyOf[kind].Draw(t, "key").Namespace
	in := func(o any) bool {
		switch o := o.(type) {
		case twinSlice:
			return o.key.Namespace == namespace
		case *Service:
			return o.Namespace == namespace
		case *Pod:
			return o.Namespace == namespace
		}
		return false
	}
	list = slices.DeleteFunc(list, func(o any) bool { return !in(o) })
	p.twice = repeats(list)
	drop := rapid.Bool().Draw(t, "drop")
	if drop {
		version, list = 0, nil
	}
	p.twin.emptyIn(kind, namespace)
	for _, o := range list {
		p.twin.put(o)
	}
	p.twin.version = max(p.twin.version, version)
	if drop {
		p.store.DeleteFunc(kind, func(k Key) bool { return k.Namespace == namespace })
	} else {
		p.store.ReplaceIn(version, kind, namespace, p.offered(t, list))
	}
}
