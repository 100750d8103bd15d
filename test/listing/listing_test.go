package listing

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// one and other are the same rules after different changes: other numbers, slots and elements in another order, and clients
// that are remembered.
const (
	one = `table ip signpost { # progname forwarder
	flags owner,persist

	map owners {
		typeof ip daddr . meta l4proto . th dport : meta priority
		elements = { 10.96.0.20 . tcp . 80 comment "shop/web" : 8000:4002,
			     10.96.0.21 . udp . 53 comment "shop/dns" : 8000:8001 }
	}

	map backends {
		typeof meta priority : ip daddr . th dport
		elements = { 4000:4001 : 10.244.1.2 . 8080,
			     4000:4002 : 10.244.1.3 . 8080,
			     4000:8001 : 10.244.1.4 . 5353 }
	}

	map affinity {
		typeof ip saddr . meta priority : meta priority
		elements = { 10.244.1.9 . 8000:4002 timeout 3h expires 2h : 4000:4001 }
	}

	map slots-2 {
		typeof ip daddr . tcp dport . numgen random mod 2 : ip daddr . tcp dport
		elements = { 10.96.0.22 . 80 . 0 : 10.244.1.2 . 8080, 10.96.0.22 . 80 . 1 : 10.244.1.3 . 8080 }
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state new jump a
		ct state new jump b
	}
}
`
	other = `table ip signpost { # progname forwarder
	flags owner,persist

	map owners {
		typeof ip daddr . meta l4proto . th dport : meta priority
		elements = { 10.96.0.21 . udp . 53 comment "shop/dns" : 8000:4001,
			     10.96.0.20 . tcp . 80 comment "shop/web" : 8000:8002 }
	}

	map backends {
		typeof meta priority : ip daddr . th dport
		elements = { 4000:4001 : 10.244.1.4 . 5353,
			     4000:8001 : 10.244.1.3 . 8080,
			     4000:8002 : 10.244.1.2 . 8080 }
	}

	map affinity {
		typeof ip saddr . meta priority : meta priority
	}

	map slots-2 {
		typeof ip daddr . tcp dport . numgen random mod 2 : ip daddr . tcp dport
		elements = { 10.96.0.22 . 80 . 0 : 10.244.1.3 . 8080, 10.96.0.22 . 80 . 1 : 10.244.1.2 . 8080 }
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state new jump a
		ct state new jump b
	}
}
`
)

func TestBlocks(t *testing.T) {
	want := Blocks(one)
	if len(want) != 6 {
		t.Fatalf("%d blocks, want 6:\n%s", len(want), strings.Join(want, "\n"))
	}
	for _, s := range []struct{ name, listing string }{
		{"another way", other},
		{"beside tables of iptables", one + "# Warning: table ip nat is managed by iptables-nft, do not touch!\ntable ip nat {\n\tchain OUTPUT {\n\t}\n}\n"},
	} {
		if diff := cmp.Diff(want, Blocks(s.listing)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
	for _, d := range []struct{ name, old, is string }{
		{"another backend", "10.244.1.3 . 8080 }", "10.244.1.4 . 8080 }"},
		{"another backend with affinity", "4000:4002 : 10.244.1.3", "4000:4002 : 10.244.1.4"},
		{"the backend of another Service", "4000:8001 : 10.244.1.4", "4000:4003 : 10.244.1.4"},
		{"another timeout", "8000:8001", "8000:8002"},
		{"another Service", `"shop/dns"`, `"shop/new"`},
		{"rules in another order", "jump a\n\t\tct state new jump b", "jump b\n\t\tct state new jump a"},
		{"another table", "table ip signpost", "table ip6 signpost"},
	} {
		if text := strings.Replace(one, d.old, d.is, 1); text == one || cmp.Equal(want, Blocks(text)) {
			t.Errorf("%s: no difference", d.name)
		}
	}
}
