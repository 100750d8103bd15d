package manifest

import (
	"slices"
	"testing"
)

// An empty file is how a file begins that is written anew: it keeps what it said.
func TestEmptiedFileKeepsWhatItSaid(t *testing.T) {
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1"))
	l.open()
	for range 2 { // twice, so that it is no moment between two writes
		l.write("a.yaml", "")
		if _, err := l.feed.scan(); err != nil {
			t.Fatal(err)
		}
		l.ip("a", "10.0.0.1")
	}
	want := []string{"problem DIR/a.yaml: the file is empty: want documents, or no file; the file keeps its last valid content"}
	if said := l.said(); !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	l.write("a.yaml", doc("a", "10.0.0.2"))
	if _, err := l.feed.scan(); err != nil {
		t.Fatal(err)
	}
	l.ip("a", "10.0.0.2")
}
