package peer

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var (
	seedFlag = flag.Uint64("peer.seed", 1, "where the random states of TestDifferential begin")
	forFlag  = flag.Duration("peer.for", 10*time.Second, "how long TestDifferential goes on with new states")
)

// setup is one way to configure both plugins.
type setup struct {
	options  string
	pods     string
	ttl      int
	podNames bool
}

var setups = []setup{
	{"", "disabled", 5, false},
	{"pods insecure\nttl 30", "insecure", 30, false},
	{"pods verified\nendpoint_pod_names", "verified", 5, true},
}

// couple is both plugins with one setup on one API.
type couple struct {
	setup
	ours, theirs Side
}

// run is one differential test.
type run struct {
	*testing.T
	*world
	seed    uint64
	couples []couple
	seen    map[string]int // deviations
	asked   int
	equal   int
	failed  int
}

// TestDifferential lets a cluster change at random and compares, after each burst
// of changes, what both plugins say to every name that exists with every type,
// and to many that do not. Ours must say what the written zone says; where the
// peer does not, it must be a deviation that we know, and each of those must be seen.
func TestDifferential(t *testing.T) {
	r := newRun(t, *seedFlag)
	states := 0
	for begin := time.Now(); states < 2 || time.Since(begin) < *forFlag; states++ {
		for range 5 + r.IntN(40) {
			r.step()
		}
		if states == 1 {
			r.trouble()
		}
		r.settle()
		r.compare()
		if r.failed > 0 {
			t.Fatalf("state %d: to see it again: go test ./test/peer -run TestDifferential -peer.seed %d", states, r.seed)
		}
	}
	t.Logf("seed %d: %d states, %d queries of each, %d answered alike, differences by reason: %v", r.seed, states, r.asked, r.equal, r.seen)
	for _, d := range deviations {
		if r.seen[d.id] == 0 {
			t.Errorf("%s was not seen: %s", d.id, d.what)
		}
	}
}

func newRun(t *testing.T, seed uint64) *run {
	zoneFile := filepath.Join(t.TempDir(), "example.net.zone")
	if err := os.WriteFile(zoneFile, []byte(upstream), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, world: newWorld(t, seed), seed: seed, seen: map[string]int{}}
	rest := "file " + zoneFile + " example.net"
	for _, s := range setups {
		r.couples = append(r.couples, couple{s,
			Start(t, "signpost", r.api.URL, s.options, rest), Start(t, "kubernetes", r.api.URL, s.options, rest)})
	}
	return r
}

// trouble makes both list everything anew: the API forgot its history while the
// connections were down, and changes went on.
func (r *run) trouble() {
	r.api.Refuse(503)
	r.api.DropConnections()
	for range 10 {
		r.step()
	}
	r.api.Expire()
	r.api.Refuse(0)
}

// settle waits until both know everything: watches keep the order of changes, so
// whoever knows the newest object of each kind knows all.
func (r *run) settle() {
	r.next++
	name := fmt.Sprintf("settled-%d", r.next)
	ip := fmt.Sprintf("172.19.%d.%d", r.next/250, 1+r.next%250)
	marks := []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		Service(name, "mark", HTTP, "None"),
		Slice(name, "mark", "1", 8080, discoveryv1.AddressTypeIPv4, Endpoint(true, "", ip)),
		Pod(name, "mark", ip),
	}
	r.put(marks...)
	for _, c := range r.couples {
		names := []string{"mark." + name + ".svc." + zone}
		if c.pods == "verified" {
			names = append(names, strings.ReplaceAll(ip, ".", "-")+"."+name+".pod."+zone)
		}
		for _, side := range []Side{c.ours, c.theirs} {
			for _, n := range names {
				r.untilAnswered(side, n)
			}
		}
	}
	for _, m := range slices.Backward(marks) {
		r.delete(m)
	}
	for _, c := range r.couples {
		for _, side := range []Side{c.ours, c.theirs} {
			r.untilGone(side, "mark."+name+".svc."+zone)
			r.untilGone(side, name+".svc."+zone)
			r.untilGone(side, strings.ReplaceAll(ip, ".", "-")+"."+name+".pod."+zone)
		}
	}
	time.Sleep(30 * time.Millisecond) // an address that left stays for 8 to 12 ms (package kube, holdback and slack)
}

func (r *run) untilAnswered(side Side, name string) {
	r.until(side, name, func(a reply) bool { return len(a.answer) > 0 })
}

func (r *run) untilGone(side Side, name string) {
	r.until(side, name, reply.nxDomain)
}

func (r *run) until(side Side, name string, ok func(reply) bool) {
	r.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		a := ask(r, side, query{name: name, qtype: "A", size: 4096})
		if ok(a) {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s does not follow; to %s it still says\n%s", side.Plugin, name, a)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// compare asks everything.
func (r *run) compare() {
	for _, c := range r.couples {
		z := newSpec(c.setup, r.objects)
		for _, name := range slices.Concat(existing(z), odd()) {
			for _, qtype := range qtypes {
				r.whole(c, z, query{name: name, qtype: qtype, size: dns.MaxMsgSize, tcp: r.IntN(2) == 0})
			}
			r.cut(c, query{name: name, qtype: []string{"A", "AAAA", "SRV"}[r.IntN(3)], size: []uint16{0, 512, 1232, 4096}[r.IntN(4)]})
		}
		for _, name := range neighbours(z, r.Rand) {
			qtype := qtypes[r.IntN(len(qtypes))]
			r.whole(c, z, query{name: name, qtype: "A", size: dns.MaxMsgSize})
			r.whole(c, z, query{name: name, qtype: qtype, size: dns.MaxMsgSize, tcp: true})
		}
		r.overNetwork(c, z)
	}
}

// maxUDP is the size of our largest answer over UDP, without the option max_udp_size.
const maxUDP = 1232

// whole asks so that all of the answer fits.
func (r *run) whole(c couple, z *spec, q query) {
	r.judgeBy(ask, c, z, q)
}

// judgeBy asks as a resolver does: over TCP if our answer over UDP is cut.
func (r *run) judgeBy(ask func(testing.TB, Side, query) reply, c couple, z *spec, q query) {
	ours := ask(r, c.ours, q)
	if !q.tcp && ours.tc {
		if ours.size > maxUDP {
			r.fail("%s: %d bytes over UDP, want at most %d", q, ours.size, maxUDP)
		}
		q.tcp = true
		ours = ask(r, c.ours, q)
	}
	r.judge(c, z, q, ours, ask(r, c.theirs, q))
}

func (r *run) judge(c couple, z *spec, q query, ours, theirs reply) {
	r.asked++
	want := z.lookup(q.name, q.qtype)
	if !ours.equal(want) {
		r.fail("%s with options %q: %s\nours\n%sthe zone\n%s", c.ours.Plugin, c.options, q, ours, want)
		return
	}
	if ours.equal(theirs) {
		r.equal++
		return
	}
	d := explain(z, q, ours, theirs)
	r.seen[d]++
	if d == "" {
		r.fail("options %q: %s\nours, as it should be\n%stheirs\n%s", c.options, q, ours, theirs)
	}
}

func (r *run) fail(format string, args ...any) {
	if r.failed++; r.failed <= 10 {
		r.Errorf(format, args...)
	}
}

// cut asks a client with a small buffer: what comes must fit, must be some of what
// there is, at least as much as the peer sends, and must say if it is not all.
func (r *run) cut(c couple, q query) {
	r.asked++
	ours, theirs := ask(r, c.ours, q), ask(r, c.theirs, q)
	q2 := q
	q2.tcp, q2.size = true, dns.MaxMsgSize
	all := ask(r, c.ours, q2)
	limit := min(max(512, int(q.size)), maxUDP)
	subset := func(part, whole []string) bool {
		return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
	}
	less := len(ours.answer) < len(all.answer) || len(ours.extra) < len(all.extra)
	// Counts are compared where the peer says the same in full, and has the same limit.
	comparable := q.size <= maxUDP && all.equal(ask(r, c.theirs, q2))
	switch {
	case ours.size > limit:
		r.fail("%s: %d bytes", q, ours.size)
	case !subset(ours.answer, all.answer) || !subset(ours.extra, all.extra):
		r.fail("%s: there is more in it than in the whole answer\n%s%s", q, ours, all)
	case less && len(all.answer) > 0 && !ours.tc && all.rcode == "NOERROR":
		r.fail("%s: cut without TC\n%s", q, ours)
	// Ours begin anywhere, and their names may be longer by chance.
	case comparable && (ours.tc != theirs.tc || len(ours.answer)+1+len(ours.answer)/8 < len(theirs.answer)):
		r.fail("%s: tc %v with %d records, the peer's tc %v with %d", q, ours.tc, len(ours.answer), theirs.tc, len(theirs.answer))
	default:
		r.equal++
	}
}

// overNetwork asks some of it again through real sockets.
func (r *run) overNetwork(c couple, z *spec) {
	names := existing(z)
	for range 40 {
		q := query{name: names[r.IntN(len(names))], qtype: qtypes[r.IntN(4)], size: 32768, tcp: r.IntN(2) == 0}
		r.judgeBy(exchange, c, z, q)
	}
}
