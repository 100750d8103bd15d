package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func anyone(*Header) error { return nil }

func encoded(t testing.TB, h Header, objects ...cluster.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, h, objects); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decoded(b []byte) (*Header, []cluster.Object, error) {
	return decode(bytes.NewReader(b), int64(len(b)), anyone)
}

// equal compares objects in full, unexported fields too.
var equal = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b cluster.Atom) bool { return a == b }),
	cmp.Comparer(func(a, b cluster.Labels) bool { return a == b }),
	cmp.AllowUnexported(cluster.Slice{}), cmpopts.EquateEmpty(),
}

func TestRoundTrip(t *testing.T) {
	want := Header{Identity: "here", Written: noon, Heard: noon.Add(-1), Version: 7}
	h, objects, err := decoded(encoded(t, want, town()...))
	if err != nil {
		t.Fatal(err)
	}
	want.Model, want.Objects = model, len(town())
	if diff := cmp.Diff(want, *h); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(town(), objects, equal); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// remaking are fields that no file holds: NewSlice and MakeAtom make them.
var remaking = []string{"Slice.ready4", "Slice.ready6", "Slice.repeated", "Slice.portsHash", "Atom.handle"}

// fill sets every field to something else than zero, and notes those that
// encoding/gob does not see.
func fill(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch v.Type() {
	case addrType:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)})))
		return
	case prefixType:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(*n)}), 16)))
		return
	case reflect.TypeFor[cluster.Atom]():
		v.Set(reflect.ValueOf(cluster.MakeAtom(fmt.Sprint("atom-", *n))))
		return
	case reflect.TypeFor[cluster.Labels]():
		v.Set(reflect.ValueOf(cluster.MakeLabels(map[string]string{fmt.Sprint("label-", *n): "value"})))
		return
	case reflect.TypeFor[cluster.Conditions]():
		v.SetUint(uint64(cluster.Ready | cluster.Terminating))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text-", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(uint64(*n%250 + 1))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(int64(*n%120 + 1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if name := v.Type().Name() + "." + f.Name; !f.IsExported() && !slices.Contains(remaking, name) {
				t.Errorf("%s is not exported, so no snapshot has it: export it, or let decode make it and say so here", name)
			} else if f.IsExported() {
				fill(t, v.Field(i), n)
			}
		}
	default:
		t.Errorf("a field of type %v: teach this test to fill it, and look whether encoding/gob writes it", v.Type())
	}
}

// Whatever the model comes to hold, a snapshot holds it too.
func TestEveryFieldIsWritten(t *testing.T) {
	n := 0
	var r record
	fill(t, reflect.ValueOf(&r).Elem(), &n)
	var objects []cluster.Object
	for i := range reflect.TypeFor[record]().NumField() {
		one := record{}
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(r).Field(i))
		objects = append(objects, one.object())
	}
	_, got, err := decoded(encoded(t, Header{}, objects...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(objects, got, equal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryKindIsWritten(t *testing.T) {
	has := map[cluster.Kind]bool{}
	for i := range reflect.TypeFor[record]().NumField() {
		one := record{}
		field := reflect.ValueOf(&one).Elem().Field(i)
		field.Set(reflect.New(field.Type().Elem()))
		o := one.object()
		if o == nil {
			t.Fatalf("%v: a record of it gives nothing", field.Type())
		}
		if back, err := recordOf(o); err != nil || reflect.ValueOf(back).Field(i).IsNil() {
			t.Errorf("%v: recordOf does not know it: %v", field.Type(), err)
		}
		has[o.Ref().Kind] = true
	}
	for k := cluster.Kind(0); k.String() != "unknown"; k++ {
		if !has[k] {
			t.Errorf("no field of record is for %v", k)
		}
	}
}

// Two shapes that differ in one name or one type are told apart.
func TestModelShape(t *testing.T) {
	type a struct{ X []struct{ Y uint16 } }
	type b struct{ X []struct{ Y uint32 } }
	type c struct{ X []struct{ Z uint16 } }
	seen := map[string]bool{}
	for _, typ := range []reflect.Type{reflect.TypeFor[a](), reflect.TypeFor[b](), reflect.TypeFor[c]()} {
		seen[strings.ReplaceAll(shape(typ), typ.Name(), "")] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d shapes, want 3", len(seen))
	}
}

// seal puts the first line before a body and the right sum behind it.
func seal(body []byte) []byte {
	b := append([]byte(magic), body...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// body encodes values as they come.
func body(values ...any) []byte {
	var b bytes.Buffer
	out := gob.NewEncoder(&b)
	for _, v := range values {
		if err := out.Encode(v); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func TestRefusals(t *testing.T) {
	good := encoded(t, Header{Identity: "here", Heard: noon}, town()...)
	service := func(change func(*cluster.Service)) *record {
		s := &cluster.Service{Key: cluster.Key{Namespace: "a", Name: "b"}}
		change(s)
		return &record{Service: s}
	}
	header := func(n int) *Header { return &Header{Model: model, Objects: n} }
	for name, tt := range map[string]struct {
		file   []byte
		reason Reason
		says   string
	}{
		"empty":                {nil, Damaged, "empty"},
		"text":                 {[]byte("hello world, this is no snapshot"), Damaged, "no snapshot"},
		"zeroes":               {make([]byte, 4096), Damaged, "no snapshot"},
		"only the first line":  {[]byte(magic), Damaged, "cut off"},
		"next format":          {bytes.Replace(good, []byte(" 2\n"), []byte(" 3\n"), 1), Format, `"signpost snapshot 3"`},
		"last format":          {bytes.Replace(good, []byte(" 2\n"), []byte(" 1\n"), 1), Format, `"signpost snapshot 1"`},
		"another model":        {seal(body(&Header{Model: "other"})), Format, "another version"},
		"appended":             {append(slices.Clone(good), 'x'), Damaged, "SHA-256"},
		"too few objects":      {seal(body(header(2), &record{Namespace: &cluster.Namespace{Name: "a"}})), Damaged, "1 objects: want 2"},
		"no header":            {seal(nil), Damaged, "header"},
		"a header of nobody's": {seal(body("hello")), Damaged, "header"},
		"no object":            {seal(body(header(1), &record{})), Damaged, "no kind"},
		"no name":              {seal(body(header(1), service(func(s *cluster.Service) { s.Name = "" }))), Damaged, "want a name"},
		"no namespace":         {seal(body(header(1), service(func(s *cluster.Service) { s.Namespace = "" }))), Damaged, "want a name"},
		"no address":           {seal(body(header(1), service(func(s *cluster.Service) { s.ClusterIPs = make([]netip.Addr, 1) }))), Damaged, "want an IPv4"},
		"address with zone": {seal(body(header(1), service(func(s *cluster.Service) {
			s.External = &cluster.External{LB: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}
		}))), Damaged, "services a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			h, objects, err := decoded(tt.file)
			var r *Refusal
			if !errors.As(err, &r) || r.Reason != tt.reason || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want reason %s and %q", err, tt.reason, tt.says)
			}
			if h != nil || objects != nil {
				t.Error("something was returned")
			}
		})
	}
}

// No file that is cut off anywhere or has any one bit changed is taken.
func TestEveryDamageIsNoticed(t *testing.T) {
	good := encoded(t, Header{Identity: "here", Heard: noon}, town()...)
	for n := range good {
		if _, _, err := decoded(good[:n]); err == nil {
			t.Fatalf("the first %d bytes of %d were taken", n, len(good))
		}
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[n] ^= 1 << bit
			if _, _, err := decoded(bad); err == nil {
				t.Fatalf("byte %d with bit %d changed was taken", n, bit)
			}
		}
	}
}

// What is taken fills a Store, and means the same when it is written again. Half
// of the inputs get a right sum, or none would come past it.
func FuzzDecode(f *testing.F) {
	good := encoded(f, Header{Identity: "here", Heard: noon}, town()...)
	f.Add(good, false)
	f.Add(good[len(magic):len(good)-sha256.Size], true)
	f.Add(body(&Header{Model: model}), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = seal(data)
		}
		h, objects, err := decoded(data)
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		s := filled(h.Version, objects...)
		version, contents := s.Contents()
		_, again, err := decoded(encoded(t, Header{Version: version}, contents...))
		if err != nil || len(again) != len(contents) {
			t.Fatalf("%d objects of %d after writing them again: %v", len(again), len(contents), err)
		}
	})
}
