package cluster

import (
	"slices"
)

// checkOutside compares the way back from addresses outside with the twin's Services.
func (p *pair) checkOutside(t fataler) {
	for _, a := range worldAddrs() {
		want := map[Key]bool{}
		for k, svc := range p.twin.services {
			if x := svc.External; x != nil && (slices.Contains(x.IPs, a) || slices.Contains(x.LB, a)) {
				want[k] = true
			}
		}
		if inside := slices.Collect(p.store.OutsideIn(host(a))); len(inside) > 0 != (len(want) > 0) || p.store.HasOutsideIn(host(a)) != (len(want) > 0) {
			t.Fatalf("OutsideIn(%v) yields %v, want it to be of %v", a, inside, want)
		}
		for o := p.store.OwnersOutside(a); o.Valid(); o = o.Next() {
			if e := o.Entry(); e == nil || !want[e.Service.Key] || !slices.Contains(e.Service.Outside(), a) {
				t.Fatalf("OwnersOutside(%v) has %v, twice or wrongly", a, e)
			} else {
				delete(want, e.Service.Key)
			}
		}
		if len(want) > 0 {
			t.Fatalf("OwnersOutside(%v) misses %v", a, want)
		}
	}
}
