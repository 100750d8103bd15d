package cluster

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// Labels are metadata.labels, interned as a whole: the pods of one ReplicaSet all
// have the same. The zero Labels are none.
type Labels struct{ text Atom } // key, NUL, value, NUL, …, in the order of keys

// MakeLabels interns labels. One with a NUL byte, which no API takes, is left out.
func MakeLabels(m map[string]string) Labels {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if v := m[k]; strings.IndexByte(k, 0) < 0 && strings.IndexByte(v, 0) < 0 {
			b.WriteString(k + "\x00" + v + "\x00")
		}
	}
	return Labels{MakeAtom(b.String())}
}

// All yields keys with their values, in the order of keys.
func (l Labels) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := l.text.String(); rest != ""; {
			var k, v string
			k, rest, _ = strings.Cut(rest, "\x00")
			v, rest, _ = strings.Cut(rest, "\x00")
			if !yield(k, v) {
				return
			}
		}
	}
}
