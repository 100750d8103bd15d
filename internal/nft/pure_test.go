package nft

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// drawSet draws a set and an element of it.
func drawSet(t *rapid.T) (*Set, Element) {
	family := rapid.SampledFrom([]*Family{IPv4, IPv6}).Draw(t, "family")
	all := []Field{family.Destination(), Protocol(), Port(), Priority(), Random(8), Mark()}
	s := &Set{Name: "s", Key: all[:rapid.IntRange(1, len(all)).Draw(t, "fields")], Interval: rapid.Bool().Draw(t, "interval")}
	draw := func(fields []Field) []byte {
		return rapid.SliceOfN(rapid.Byte(), s.padded(fields), s.padded(fields)).Draw(t, "bytes")
	}
	e := Element{Key: draw(s.Key)}
	if s.ranges() {
		e.KeyEnd = draw(s.Key)
	} else {
		e.End = rapid.Bool().Draw(t, "end")
	}
	if rapid.Bool().Draw(t, "map") {
		s.Value = []Field{family.Destination(), Port()}
		e.Value = draw(s.Value)
	}
	e.Comment = CommentText(rapid.String().Draw(t, "comment"))
	return s, e
}

// TestElementsAreReadAsWritten reads what Add writes, and holds the sizes against it.
func TestElementsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, e := drawSet(t)
		var added, deleted Elements
		added.Add(&e)
		deleted.Delete(&e)
		if got, want := s.KeySize(e.End), len(deleted); got != want {
			t.Fatalf("the key of %+v has %d bytes, KeySize says %d", e, want, got)
		}
		if got, want := s.KeySize(e.End)+s.ValueSize(len(e.Comment)), len(added); got != want {
			t.Fatalf("%+v has %d bytes, the sizes say %d", e, want, got)
		}
		if got := parseElement(attrOf(added, unix.NFTA_LIST_ELEM)); !reflect.DeepEqual(got, e) {
			t.Fatalf("%+v is read as %+v", e, got)
		}
		if n := wholeElements(added); n != len(added) {
			t.Fatalf("%d of %d bytes are whole elements", n, len(added))
		}
	})
}

// TestParts cuts transactions: each part fits unless it is one message, and ends where it says; no message is lost.
func TestParts(t *testing.T) {
	table := Table{IPv4, "t"}
	rapid.Check(t, func(t *rapid.T) {
		whole := NewTransaction()
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			s, e := drawSet(t)
			var list Elements
			for range rapid.IntRange(1, 3000).Draw(t, "elements") {
				list.Add(&e)
			}
			whole.NewSet(table, s)
			whole.AddElements(table, s, list)
		}
		limit := rapid.IntRange(1<<10, 256<<10).Draw(t, "limit")
		var all []byte
		for part := range whole.Parts(limit) {
			if part.Empty() || part.Size() > limit && len(part.objects) > 1 {
				t.Fatalf("a part has %d bytes in %d messages, want at most %d", part.Size(), len(part.objects), limit)
			}
			if last := part.Bytes()[part.last:]; int(binary.NativeEndian.Uint32(last)) != len(last) {
				t.Fatalf("a part does not end with its last message")
			}
			all = append(all, part.Bytes()[edgeSize:]...)
		}
		if !bytes.Equal(all, whole.Bytes()[edgeSize:]) {
			t.Fatalf("the parts have %d bytes, want %d", len(all), len(whole.Bytes())-edgeSize)
		}
	})
}

// FuzzAnswer reads what a kernel could answer.
func FuzzAnswer(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, 64))
	f.Add(append(append([]byte{0xff, 0xff, 0xff, 0xff}, make([]byte, 16)...), 9, 0, 1, 0, 'o', 'h', 'n', 'o', 0))
	var list Elements
	list.Add(&Element{Key: []byte{10, 0, 0, 1}, KeyEnd: []byte{10, 0, 0, 9}, Value: []byte{1, 2, 3, 4}, Comment: "ns/name:port"})
	f.Add([]byte(list))
	s := &Set{Name: "s", Key: []Field{IPv4.Destination(), Protocol(), Port()}, Value: []Field{Mark()}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e := parseError(answer{payload: b}); e != nil && e.Error() == "" {
			t.Error("an error without text")
		}
		setInfo(parse(b))
		chainInfo(parse(b))
		commentOf(b)
		s.Text(parseElement(b))
		for _, element := range attrs(b) {
			s.Text(parseElement(element))
		}
		IPv4.SameRule(b, Rule(IsNew, Concat(IPv4.OriginalDestination()), Drop))
	})
}

func TestCommentsCannotBreakAListing(t *testing.T) {
	for in, want := range map[string]string{
		"default/web:http":            "default/web:http",
		"a\"b\\c\nd\x00é":             "a?b?c?d??",
		strings.Repeat("[120 ]", 100): strings.Repeat("[120 ]", 100)[:MaxComment],
	} {
		if got := CommentText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestElementText(t *testing.T) {
	key := append(netip.MustParseAddr("10.96.0.10").AsSlice(), 17, 0, 0, 0, 0, 53, 0, 0)
	s := &Set{Name: "s", Key: []Field{IPv4.Destination(), Protocol(), Port()}}
	numbers := &Set{Name: "m", Key: []Field{Priority(), Random(8)}, Value: []Field{Mark()}}
	for _, c := range []struct {
		name    string
		set     *Set
		element Element
		want    string
	}{
		{"a frontend", s, Element{Key: key}, "10.96.0.10 . udp . 53"},
		{"with a comment", s, Element{Key: key, Comment: "a/b:\"c"}, `10.96.0.10 . udp . 53 comment "a/b:?c"`},
		{"a map of numbers", numbers, Element{Key: append(Native(0x40001), Native(3)...), Value: Native(0x53)}, "4:1 . 3 : 0x00000053"},
		{"the number 0", numbers, Element{Key: make([]byte, 8)}, "none . 0"},
		{"too short", s, Element{Key: key[:6]}, "0x0a60000a1100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.set.Text(c.element); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
