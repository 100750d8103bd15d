package signpost

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// transferred is a whole zone as text, sorted, with both SOA records.
func transferred(t *testing.T, s *Signpost, zone string, serial uint32) []string {
	t.Helper()
	ch, err := s.Transfer(zone, serial)
	if err != nil {
		t.Fatal(err)
	}
	var list []dns.RR
	for rrs := range ch {
		list = append(list, rrs...)
	}
	return plain(list)
}

// plain writes records without weights, which depend on how many go into one answer.
func plain(rrs []dns.RR) []string {
	var list []string
	for _, rr := range rrs {
		if srv, ok := rr.(*dns.SRV); ok {
			srv.Weight = 0
		}
		list = append(list, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	slices.Sort(list)
	return list
}

// A zone is what queries are answered with, no more and no less.
func TestTransferIsWhatQueriesSay(t *testing.T) {
	s := plugged(fixture(), func(s *Signpost) { s.pods = podsVerified })
	zones := map[string]map[string]bool{}
	for i := range s.zones {
		zone := s.zones[i].name
		zones[zone] = map[string]bool{}
		records := transferred(t, s, zone, 0)
		for i, text := range records {
			if i > 0 && text == records[i-1] && !strings.Contains(text, " SOA ") && !strings.Contains(text, "two.ns.svc") {
				t.Errorf("%s: twice: %s", zone, text)
			}
			zones[zone][text] = true
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := ask(t, s, rr.Header().Name, rr.Header().Rrtype)
			if !slices.Contains(plain(m.Answer), text) {
				t.Errorf("%s: %s is not the answer to a query: %v", zone, text, m.Answer)
			}
		}
	}
	asked := 0
	for _, q := range queries {
		name := q.name
		if !strings.HasSuffix(name, ".") {
			name = dns.Fqdn(name + "." + zoneSuffix)
		}
		name = strings.ToLower(name)
		for _, qtype := range []uint16{dns.TypeNS, dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeCNAME} {
			m, _ := ask(t, s, name, qtype)
			z, _ := match(s.zones, name)
			if z == nil || m == nil {
				continue
			}
			for _, text := range plain(m.Answer) {
				if !strings.HasPrefix(text, name+" ") {
					continue // behind a CNAME
				}
				if asked++; !zones[z.name][text] {
					t.Errorf("%s is answered with %s: it is not in the transfer of %s", name, text, z.name)
				}
			}
		}
	}
	if asked < 50 {
		t.Errorf("only %d records asked for", asked)
	}
}

func TestTransferOnlyOfZones(t *testing.T) {
	s := plugged(fixture(), nil)
	for _, name := range []string{"svc.cluster.local.", "web.ns.svc.cluster.local.", "local.", "example.org.", "0.0.10.in-addr.arpa."} {
		if _, err := s.Transfer(name, 0); !errors.Is(err, transfer.ErrNotAuthoritative) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := plugged(cluster.NewStore(), nil).Transfer("cluster.local.", 0); err == nil || errors.Is(err, transfer.ErrNotAuthoritative) {
		t.Errorf("before the first sync: %v", err)
	}
}

// A zone below another is cut out of it.
func TestTransferOfNestedZones(t *testing.T) {
	s := plugged(fixture(), func(s *Signpost) {
		s.zones, s.primary = makeZones([]string{".", "cluster.local.", "16.172.in-addr.arpa.", "0/25.0.0.10.in-addr.arpa."})
	})
	root := strings.Join(transferred(t, s, ".", 0), "\n")
	if !strings.Contains(root, "\n10.0.0.10.in-addr.arpa. 5 IN PTR kube-dns.kube-system.svc.\n") || strings.Contains(root, "16.172.in-addr.arpa.") {
		t.Errorf("the root:\n%s", root)
	}
	pods := transferred(t, s, "16.172.in-addr.arpa.", 0)
	if text := strings.Join(pods, "\n"); !strings.Contains(text, "2.0.16.172.in-addr.arpa. 5 IN PTR 172-16-0-2.hdls.ns.svc.") || strings.Contains(text, "0.0.10.") {
		t.Errorf("16.172.in-addr.arpa:\n%s", text)
	}
	if got := transferred(t, s, "0/25.0.0.10.in-addr.arpa.", 0); len(got) != 3 {
		t.Errorf("a zone without addresses: %v", got)
	}
}

func TestTransferBySerial(t *testing.T) {
	store := fixture()
	s := plugged(store, nil)
	all := len(transferred(t, s, "cluster.local.", 0))
	for i, step := range []struct {
		version uint64 // of a change; 0: of one that no name shows
		serial  uint32 // that the client has
		records int
	}{
		{0, 7, 1},
		{0, 8, 1}, // newer than ours
		{0, 6, all},
		{1<<32 + 3, 1<<32 - 5, all}, // the low 32 bits went round (RFC 1982)
		{0, 3, 1},
	} {
		if step.version == 0 {
			store.Put(store.Version() + 1)
		} else {
			store.Put(step.version, service("ns", "web", nil, fmt.Sprintf("10.0.1.%d", i)))
		}
		if got := transferred(t, s, "cluster.local.", step.serial); len(got) != step.records {
			t.Errorf("version %d, client at %d: %d records, want %d", store.Version(), step.serial, len(got), step.records)
		}
	}
}

// Secondaries are notified of a zone when its records changed, and its serial stays
// while nothing of it does.
func TestNotifyOnlyOfChanges(t *testing.T) {
	store := fixture()
	s := plugged(store, func(s *Signpost) { s.pods = podsVerified })
	pod := func(text, ip string) *cluster.Pod {
		return &cluster.Pod{Key: cluster.Key{Namespace: "ns", Name: "p"}, Addrs: addrs(ip, "fd00::11"), Labels: cluster.MakeLabels(map[string]string{"a": text})}
	}
	last, seed := make([]notified, len(s.zones)), maphash.MakeSeed()
	version := uint64(10)
	for _, step := range []struct {
		what    string
		put     cluster.Object
		serials []bool // of these zones rise
		notify  []bool // secondaries of these zones
	}{
		{"the first sync", nil, []bool{false, false, false}, []bool{true, true, true}},
		{"nothing", nil, []bool{false, false, false}, []bool{false, false, false}},
		{"another label of a pod", pod("x", "172.16.0.1"), []bool{false, false, false}, []bool{false, false, false}},
		{"another version of a Service", service("ns", "web", func(s *cluster.Service) { s.Version = 99 }, "10.0.0.1"), []bool{false, false, false}, []bool{false, false, false}},
		{"an endpoint that is not ready", slice("ns", "web", "web-1", http8080, ready("172.16.0.1", ""), unready("172.16.0.9"), unready("172.16.0.8")), []bool{false, false, false}, []bool{false, false, false}},
		{"another address of a pod", pod("x", "172.16.0.7"), []bool{true, false, false}, []bool{true, false, false}},
		{"an IPv4 address", service("ns", "web", nil, "10.0.0.77"), []bool{true, true, true}, []bool{true, true, false}},
		{"a port", service("ns", "six", func(s *cluster.Service) { s.Ports[0].Number = 81 }, "fd00:1::1"), []bool{true, true, true}, []bool{true, false, false}},
	} {
		var before []uint64
		for i := range s.zones {
			before = append(before, s.serial(&s.zones[i]))
		}
		if version++; step.put != nil {
			store.Put(version, step.put)
		}
		for i := range s.zones {
			z := &s.zones[i]
			if (s.serial(z) > before[i]) != step.serials[i] || s.serial(z) < before[i] {
				t.Errorf("%s: serial of %s %d after %d, want it to rise: %v", step.what, z.name, s.serial(z), before[i], step.serials[i])
			}
			if got := s.differs(z, &last[i], seed); got != step.notify[i] {
				t.Errorf("%s: NOTIFY of %s: %v, want %v", step.what, z.name, got, step.notify[i])
			}
		}
	}
}

// transferIn fetches a zone over the network.
func transferIn(t *testing.T, i *caddy.Instance, r *dns.Msg) ([]dns.RR, error) {
	t.Helper()
	var list []dns.RR
	ch, err := new(dns.Transfer).In(r, i.Servers()[0].Addr().String())
	if err != nil {
		return nil, err
	}
	for e := range ch {
		if e.Error != nil {
			return list, e.Error
		}
		list = append(list, e.RR...)
	}
	return list, nil
}

// A zone of more than one message over TCP, with the plugin transfer in front; a
// secondary that is listed is told when it changes.
func TestTransferServer(t *testing.T) {
	told := make(chan string, 64)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secondary := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if r.Opcode == dns.OpcodeNotify {
			told <- r.Question[0].Name
		}
		_ = w.WriteMsg(new(dns.Msg).SetReply(r))
	})}
	go func() { _ = secondary.ActivateAndServe() }()
	defer secondary.Shutdown()

	dir := t.TempDir()
	var many strings.Builder
	for n := range 3000 {
		fmt.Fprintf(&many, "---\n{apiVersion: v1, kind: Service, metadata: {name: web-%d, namespace: ns, resourceVersion: \"%d\"}, spec: {clusterIP: 10.97.%d.%d, ports: [{port: 80}]}}\n",
			n, 100+n, n/250, n%250)
	}
	writeFile(t, filepath.Join(dir, "many.yaml"), many.String())
	i := start(t, fmt.Sprintf(`.:0 {
 signpost cluster.local in-addr.arpa {
  manifests %s
 }
 transfer cluster.local in-addr.arpa {
  to 127.0.0.1:%d *
 }
}`, dir, pc.LocalAddr().(*net.UDPAddr).Port))
	defer stop(t, i)

	r := new(dns.Msg)
	forward, err := transferIn(t, i, r.SetAxfr("cluster.local."))
	if err != nil {
		t.Fatal(err)
	}
	if a := count(forward, dns.TypeA); a < 3000 {
		t.Errorf("%d A records of 3000 Services", a)
	}
	soa := forward[0].(*dns.SOA)
	back, err := transferIn(t, i, r.SetAxfr("In-Addr.ARPA."))
	if err != nil || count(back, dns.TypePTR) != 3000 {
		t.Errorf("%d PTR records, %v", count(back, dns.TypePTR), err)
	}
	if list, err := transferIn(t, i, r.SetIxfr("cluster.local.", soa.Serial, ".", ".")); err != nil || len(list) != 1 {
		t.Errorf("IXFR from the serial that there is: %v %v", list, err)
	}
	if list, err := transferIn(t, i, r.SetIxfr("cluster.local.", soa.Serial-1, ".", ".")); err != nil || len(list) != len(forward) {
		t.Errorf("IXFR from an older serial: %d records, %v; want %d", len(list), err, len(forward))
	}
	if list, err := transferIn(t, i, r.SetAxfr("svc.cluster.local.")); err == nil {
		t.Errorf("a name that is no zone: %v", list)
	}
	first := []string{<-told, <-told}
	slices.Sort(first)
	if diff := cmp.Diff([]string{"cluster.local.", "in-addr.arpa."}, first); diff != "" {
		t.Errorf("NOTIFY (-want +got):\n%s", diff)
	}
	writeFile(t, filepath.Join(dir, "web.yaml"), fmt.Sprintf(webManifest, "10.96.0.1"))
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Error("no NOTIFY after a change")
	}
}

func count(rrs []dns.RR, rrtype uint16) (n int) {
	for _, rr := range rrs {
		if rr.Header().Rrtype == rrtype {
			n++
		}
	}
	return n
}
