package cluster

import (
	"bytes"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Labels are metadata.labels, interned as a whole: the pods of one ReplicaSet all
// have the same. The zero Labels are none.
type Labels struct{ text Atom } // key, NUL, value, NUL, …, in the order of keys

// MakeLabels interns labels. It leaves out labels with a NUL byte, which no API server accepts.
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

// MarshalBinary implements encoding.BinaryMarshaler, so that snapshots can hold pods.
func (l Labels) MarshalBinary() ([]byte, error) { return l.text.MarshalBinary() }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (l *Labels) UnmarshalBinary(text []byte) error {
	if n := bytes.Count(text, []byte{0}); n%2 != 0 || n == 0 && len(text) > 0 || n > 0 && text[len(text)-1] != 0 {
		return errors.New("labels: want keys and values that each end in a NUL byte")
	}
	return l.text.UnmarshalBinary(text)
}
