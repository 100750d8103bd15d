package signpost

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Every address has one label, and the label leads back to it.
func TestDashedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip")))
		} else {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 1, 0xfd, 0xff}), 16, 16).Draw(t, "ip")))
		}
		if a.Is4In6() {
			return
		}
		label := string(appendDashed(nil, a))
		if got := parseDashed(label); got != a || label[len(label)-1] == '-' {
			t.Fatalf("%v has label %s, which reads as %v", a, label, got)
		}
	})
}

// FuzzParseDashed compares with the obvious way: replace and let netip parse.
func FuzzParseDashed(f *testing.F) {
	for _, s := range []string{"", "1-2-3-4", "01-2-3-4", "1-2-3-4-5", "fd00--1", "--1", "a-b-c-d", "1-2-3-256", "--", "1--2-3", "web-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, label string) {
		separator := ":"
		if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
			separator = "."
		}
		want, err := netip.ParseAddr(strings.ReplaceAll(label, "-", separator))
		if err != nil || strings.ContainsAny(label, ".:%") || want.Is4In6() || label != strings.ToLower(label) {
			want = netip.Addr{}
		}
		if got := parseDashed(label); got != want {
			t.Errorf("%q: %v, want %v", label, got, want)
		}
	})
}

// FuzzParseReverse compares with building the name from the prefix.
func FuzzParseReverse(f *testing.F) {
	for _, s := range []string{"1.0.0.10.in-addr.arpa.", "10.in-addr.arpa.", "d.f.ip6.arpa.", "x.10.in-addr.arpa.", "ip6.arpa.", ".in-addr.arpa."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, ok := parseReverse(name)
		if !ok {
			return
		}
		var labels []string
		tree, step := ".in-addr.arpa.", 8
		if p.Addr().Is6() {
			tree, step = ".ip6.arpa.", 4
		}
		bytes := p.Addr().AsSlice()
		for bit := 0; bit < p.Bits(); bit += step {
			if step == 8 {
				labels = append([]string{netip.AddrFrom4([4]byte{bytes[bit/8]}).String()[:len(netip.AddrFrom4([4]byte{bytes[bit/8]}).String())-6]}, labels...)
			} else {
				labels = append([]string{string("0123456789abcdef"[bytes[bit/8]>>(4-bit%8)&15])}, labels...)
			}
		}
		if want := strings.Join(labels, ".") + tree; want != name {
			t.Errorf("%q reads as %v, which is %q", name, p, want)
		}
	})
}
