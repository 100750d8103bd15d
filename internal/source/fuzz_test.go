package source

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// FuzzConvert: whatever JSON says, Convert does not panic, what it returns obeys
// the promises of the model, and it is the same when asked again.
func FuzzConvert(f *testing.F) {
	for _, c := range allConversions() {
		data, err := yaml.ToJSON([]byte("apiVersion: " + apiVersions[c.kind] + "\nkind: " + c.kind + "\n" + c.yaml))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, c.options.PodNames)
	}
	f.Add([]byte(`{"ApiVersion":"v1","kind":"Service","":{}}`), false)
	f.Fuzz(func(t *testing.T, data []byte, podNames bool) {
		obj, unknown, err := Decode(data)
		if err != nil {
			return
		}
		before, _ := json.Marshal(obj)
		o, problems := Convert(obj, Options{PodNames: podNames})
		for _, p := range slices.Concat(unknown, problems) {
			if p.Field == "" || p.Want == "" || strings.ContainsAny(p.String(), "\n\r") {
				t.Errorf("unreadable problem %q", p)
			}
		}
		if o != nil {
			checkObject(t, o)
			store := cluster.NewStore()
			store.Put(1, o)
			store.Delete(2, o.Ref())
		}
		again, _ := Convert(obj, Options{PodNames: podNames})
		if show(o) != show(again) {
			t.Errorf("first %s\nthen  %s", show(o), show(again))
		}
		if after, _ := json.Marshal(obj); string(after) != string(before) {
			t.Errorf("the API object changed from %s\nto %s", before, after)
		}
	})
}

func checkObject(t *testing.T, o cluster.Object) {
	t.Helper()
	var addrs []netip.Addr
	switch o := o.(type) {
	case *cluster.Service:
		addrs = slices.Clone(o.ClusterIPs)
		if o.External != nil {
			addrs = slices.Concat(addrs, o.External.IPs, o.External.LB)
		}
		if (o.Headless || o.Type == cluster.ExternalName) && len(o.ClusterIPs) > 0 || len(o.ClusterIPs) > 2 {
			t.Errorf("cluster IPs in %s", show(o))
		}
		for _, p := range o.Ports {
			if p.Number == 0 || p.Protocol.String() == "unknown" || p.Name != "" && !isLabel(p.Name) {
				t.Errorf("port in %s", show(o))
			}
		}
	case *cluster.Slice:
		for i, e := range o.Endpoints {
			addrs = append(addrs, e.Addr)
			if i > 0 && e.Addr.Less(o.Endpoints[i-1].Addr) || e.Hostname != "" && !isLabel(e.Hostname) {
				t.Errorf("endpoints in %s", show(o))
			}
		}
		if !isLabel(o.Service.Name) {
			t.Errorf("Service of %s", show(o))
		}
	case *cluster.Pod:
		addrs = o.Addrs
	case *cluster.Node:
		addrs = o.Addrs
	}
	for _, a := range addrs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() {
			t.Errorf("address %v in %s", a, show(o))
		}
	}
	if o.Ref().Key.Name == "" {
		t.Errorf("no name in %s", show(o))
	}
}

// FuzzAddress holds the parser against the twin: the same text without leading zeros.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "010.0.0.08", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3", "1.2.3.4.5", "0x1.2.3.4", "1..2.3", "00.0.0.1", "256.0.0.1", "::0.00.1.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseAddr(s)
		if !ok {
			if b, err := netip.ParseAddr(s); err == nil && b.Zone() == "" && !b.Unmap().IsUnspecified() {
				t.Errorf("%q is refused", s)
			}
			return
		}
		if b, err := netip.ParseAddr(a.String()); err != nil || b != a {
			t.Errorf("%q gives %v, which reads as %v, %v", s, a, b, err)
		}
		if strings.Contains(s, ":") {
			if b, err := netip.ParseAddr(s); err != nil || b.Unmap() != a {
				t.Errorf("%q gives %v, want %v, %v", s, a, b, err)
			}
		}
	})
}
