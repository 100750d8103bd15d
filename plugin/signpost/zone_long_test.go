package signpost

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// A pod whose name would have more than 255 octets is left out of answers, and does not
// spoil those about others.
func TestNamesOver255Octets(t *testing.T) {
	label := func(c string) string { return strings.Repeat(c, 63) }
	zoneName := label("z") + ".zzz."
	store := cluster.NewStore()
	store.Put(5, service(label("n"), label("s"), nil),
		slice(label("n"), label("s"), "a", http8080, ready("172.16.0.1", label("h")), ready("172.16.0.2", "short"), ready("172.16.0.3", "")),
		service("ns", label("p"), nil, "10.0.0.1"))
	store.MarkSynced()
	s := plugged(store, func(s *Signpost) {
		s.zones, s.primary = makeZones([]string{zoneName, "in-addr.arpa."})
		s.local = addrs("172.16.0.1")
	})
	base := label("s") + "." + label("n") + ".svc." + zoneName
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []string // names in the answer
	}{
		{base, dns.TypeA, dns.RcodeSuccess, []string{"172.16.0.1", "172.16.0.2", "172.16.0.3"}},
		{base, dns.TypeSRV, dns.RcodeSuccess, []string{"172-16-0-3." + base, "short." + base}},
		{"1.0.16.172.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, nil},
		{"2.0.16.172.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, []string{"short." + base}},
		{zoneName, dns.TypeNS, dns.RcodeSuccess, []string{"ns.dns." + zoneName}},
	} {
		m, rcode := ask(t, s, c.name, c.qtype)
		var got []string
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				got = append(got, rr.A.String())
			case *dns.SRV:
				got = append(got, rr.Target)
			case *dns.PTR:
				got = append(got, rr.Ptr)
			case *dns.NS:
				got = append(got, rr.Ns)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" || rcode != c.rcode {
			t.Errorf("%s %s: rcode %d (-want +got):\n%s", c.name, dns.TypeToString[c.qtype], rcode, diff)
		}
		checkLengths(t, slices.Concat(m.Answer, m.Ns, m.Extra))
	}
	for i := range s.zones {
		ch, err := s.Transfer(s.zones[i].name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for rrs := range ch {
			checkLengths(t, rrs)
		}
	}

	var told []string
	note := func(ref cluster.Ref, name string) { told = append(told, fmt.Sprint(ref.Kind, " ", ref.Key, " ", name)) }
	known := s.reportLong(note, nil)
	s.reportLong(note, known)
	want := "services " + label("n") + "/" + label("s") + " " + label("h") + "." + base
	if len(told) != 1 || told[0] != want {
		t.Errorf("reported %v, want once\n%s", told, want)
	}
	if known = s.reportLong(note, nil); len(told) != 2 || len(known) != 1 {
		t.Errorf("reported %d times, %d are known", len(told), len(known))
	}
}

// checkLengths unpacks records as a client does, which takes no longer name.
func checkLengths(t *testing.T, rrs []dns.RR) {
	t.Helper()
	for _, rr := range rrs {
		buf := make([]byte, 4096)
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			t.Fatalf("%v: %v", rr, err)
		}
		if _, _, err := dns.UnpackRR(buf[:n], 0); err != nil {
			t.Errorf("%v: %v", rr, err)
		}
	}
}

// The names of a set of clusters have one label more.
func TestImportsOver255Octets(t *testing.T) {
	label := func(c string) string { return strings.Repeat(c, 63) }
	store := cluster.NewStore()
	imported := slice(label("n"), label("s"), "a", http8080, ready("172.16.0.1", label("h")), ready("172.16.0.2", "short"))
	imported.Cluster = cluster.MakeAtom(label("c"))
	store.Put(5, &cluster.ServiceImport{Service: service(label("n"), label("s"), nil)}, &cluster.ImportedSlice{Slice: imported})
	store.MarkSynced()
	s := plugged(store, func(s *Signpost) {
		s.clusterset = []string{"clusterset.local."}
		s.zones, s.primary = makeZones([]string{"cluster.local.", "clusterset.local.", "in-addr.arpa."})
		markClusterset(s.zones, s.clusterset)
	})
	for addr, want := range map[string]bool{"172.16.0.1": false, "172.16.0.2": true} {
		if has := s.hasPointer(&s.zones[2], netip.MustParseAddr(addr)); has != want {
			t.Errorf("PTR of %s: %v, want %v", addr, has, want)
		}
	}
	m, _ := ask(t, s, label("s")+"."+label("n")+".svc.clusterset.local.", dns.TypeSRV)
	if len(m.Answer) != 1 {
		t.Errorf("SRV: %v, want the one that fits", m.Answer)
	}
	checkLengths(t, slices.Concat(m.Answer, m.Extra))
	var told []cluster.Kind
	s.reportLong(func(ref cluster.Ref, _ string) { told = append(told, ref.Kind) }, nil)
	if !slices.Equal(told, []cluster.Kind{cluster.KindServiceImport}) {
		t.Errorf("reported of %v", told)
	}
}
