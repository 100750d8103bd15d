package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// model describes the shape of everything that a snapshot holds: names and types of all
// fields, at any depth.
var model = shape(reflect.TypeFor[record]())

func shape(t reflect.Type) string {
	var b strings.Builder
	describe(&b, t, map[reflect.Type]bool{})
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

func describe(b *strings.Builder, t reflect.Type, seen map[reflect.Type]bool) {
	fmt.Fprintf(b, "%s %s", t, t.Kind())
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		b.WriteString(" of ")
		describe(b, t.Elem(), seen)
	case reflect.Map:
		b.WriteString(" by ")
		describe(b, t.Key(), seen)
		b.WriteString(" of ")
		describe(b, t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				fmt.Fprintf(b, "\n%s ", f.Name)
				describe(b, f.Type, seen)
			}
		}
		b.WriteString("\n.")
	}
}

// checker validates decoded objects before a Store gets them. It also makes equal strings
// share their bytes, because many objects have the same namespaces and port names.
type checker struct{ strings map[string]string }

// mostShared bounds what a checker remembers.
const mostShared = 1 << 16

func newChecker() *checker { return &checker{map[string]string{}} }

// object returns an error for an object that no source would make. Such an object must not
// reach a Store: an invalid address, for example, belongs to no family.
func (c *checker) object(o cluster.Object) error {
	if o == nil {
		return errors.New("it is of no kind that we know")
	}
	ref := o.Ref()
	namespaced := ref.Kind.Namespaced()
	if ref.Key.Name == "" || namespaced && ref.Key.Namespace == "" {
		return fmt.Errorf("%v %q: want a name and a namespace", ref.Kind, ref.Key)
	}
	if err := c.value(reflect.ValueOf(o).Elem()); err != nil {
		return fmt.Errorf("%v %v: %w", ref.Kind, ref.Key, err)
	}
	return nil
}

var (
	addrType   = reflect.TypeFor[netip.Addr]()
	prefixType = reflect.TypeFor[netip.Prefix]()
)

func (c *checker) value(v reflect.Value) error {
	switch v.Type() {
	case addrType:
		if a := v.Interface().(netip.Addr); !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("%q: want an IPv4 or IPv6 address without a zone", a)
		}
		return nil
	case prefixType:
		if p := v.Interface().(netip.Prefix); !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("%q: want an IPv4 or IPv6 prefix", p)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		c.share(v)
	case reflect.Pointer:
		if !v.IsNil() {
			return c.value(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := c.value(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); v.Type().Field(i).IsExported() {
				if err := c.value(f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// share replaces a string by an earlier equal one.
func (c *checker) share(v reflect.Value) {
	s := v.String()
	if before, ok := c.strings[s]; ok {
		v.SetString(before)
	} else if len(c.strings) < mostShared {
		c.strings[s] = s
	}
}
