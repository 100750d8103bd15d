package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever was put and is still there is in the contents, as it was put; and a
// Store filled with them answers as the first one does.
func TestContents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewStore()
		want := map[Ref]Object{}
		for range rapid.IntRange(0, 40).Draw(t, "writes") {
			o := objectOf(genAnything.Draw(t, "object"))
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				s.Delete(0, o.Ref())
				delete(want, o.Ref())
			} else {
				s.Put(3, o)
				want[o.Ref()] = o
			}
		}
		version, got := s.Contents()
		if version != s.Version() || len(got) != len(want) {
			t.Fatalf("%d objects at version %d, want %d at %d", len(got), version, len(want), s.Version())
		}
		for _, o := range got {
			w := want[o.Ref()]
			if n, isNamespace := o.(*Namespace); isNamespace && *n == *w.(*Namespace) {
				continue
			}
			if o != w {
				t.Errorf("%v: not what was put", o.Ref())
			}
		}
		again := NewStore()
		again.Put(version, got...)
		for e := range s.Services() {
			if other := again.Service(e.Service.Namespace, e.Service.Name); other == nil || !slices.Equal(show(e), show(other)) {
				t.Errorf("%v: its endpoints are not the same in a Store of the contents", e.Service.Key)
			}
		}
	})
}

// objectOf makes an object of what a generator drew.
func objectOf(drawn any) Object {
	if s, ok := drawn.(twinSlice); ok {
		return s.real()
	}
	return drawn.(Object)
}

func TestEveryKindIsInContents(t *testing.T) {
	s := NewStore()
	for kind, gen := range genObject {
		s.Put(0, objectOf(gen.Example()))
		_, objects := s.Contents()
		if !slices.ContainsFunc(objects, func(o Object) bool { return o.Ref().Kind == Kind(kind) }) {
			t.Errorf("no object of kind %v", Kind(kind))
		}
	}
}

func TestRestored(t *testing.T) {
	s := NewStore()
	if s.Restored() || s.Changes() != 0 {
		t.Error("a new Store holds something")
	}
	s.MarkRestored()
	s.Put(1)
	if !s.Restored() || s.Synced() || s.Changes() != 1 {
		t.Error("it does not know that it was restored")
	}
	s.MarkSynced()
	if !s.Restored() || !s.Synced() {
		t.Error("for a moment a reader would find neither")
	}
}

func TestAtomBinary(t *testing.T) {
	for _, text := range []string{"", "zone-a"} {
		b, err := MakeAtom(text).MarshalBinary()
		var a Atom
		if err != nil || a.UnmarshalBinary(b) != nil || a != MakeAtom(text) {
			t.Errorf("%q became %q: %v", text, a, err)
		}
	}
}
