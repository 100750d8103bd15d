package cluster

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

func TestLabels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOf(rapid.StringMatching("[a-c./-]{0,3}"), rapid.StringMatching("[a-c=,]{0,3}")).Draw(t, "labels")
		l := MakeLabels(m)
		if got := maps.Collect(l.All()); !maps.Equal(got, m) {
			t.Fatalf("%v, want %v", got, m)
		}
		if l != MakeLabels(maps.Clone(m)) {
			t.Fatal("the same labels twice are not equal")
		}
		text, _ := l.MarshalBinary()
		var again Labels
		if err := again.UnmarshalBinary(text); err != nil || again != l {
			t.Fatalf("written down and read: %v, %v", again, err)
		}
		for range l.All() {
			break // it ends when the reader does
		}
	})
	if MakeLabels(map[string]string{"a\x00": "b", "c": "d\x00"}) != (Labels{}) {
		t.Error("a label with a NUL byte was taken")
	}
	for _, text := range []string{"a", "a\x00", "a\x00b", "a\x00b\x00c"} {
		if new(Labels).UnmarshalBinary([]byte(text)) == nil {
			t.Errorf("%q was taken for labels", text)
		}
	}
}
