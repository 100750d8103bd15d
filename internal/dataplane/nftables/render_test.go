package nftables

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden holds the text of the rules against testdata: the table as people
// read it, and what becomes of it.
func TestGolden(t *testing.T) {
	udp := testRoute(1, 2)
	udp.Protocol, udp.Port = cluster.UDP, 53
	one := vip.NewTable()
	one.Set(service(1), []*vip.Route{udp})
	for name, table := range map[string]*vip.Table{
		"empty": vip.NewTable(), "one-udp": one, "five-backends": testTable(1, 5), "no-backends": testTable(1, 0), "mixed": mixedTable(),
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := Render(testHost, table)
			if err != nil {
				t.Fatal(err)
			}
			got := &txtar.Archive{Files: []txtar.File{{Name: "table", Data: []byte(table.String())}, {Name: "rules", Data: []byte(rules)}}}
			file := filepath.Join("testdata", name+".txtar")
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
				t.Errorf("%s (-want +got), with -update it is written anew:\n%s", file, diff)
			}
			for range 5 {
				if again, _ := Render(testHost, table); again != rules {
					t.Fatal("the text of the same table differs from time to time")
				}
			}
		})
	}
}

// TestPlanIsAcceptedByNFT feeds the golden rules to the tool, which checks them in the kernel.
func TestPlanIsAcceptedByNFT(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ownNetwork(t)
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mustNFT(t, string(archive.Files[1].Data), "-c", "-f", "-")
		})
	}
}

// model is what a kernel does with operations, in the obvious way.
type model map[*set]map[string]value

func (m model) do(t *rapid.T, o op) {
	elements := m[o.set]
	if elements == nil {
		elements = map[string]value{}
		m[o.set] = elements
	}
	k := o.set.text(o.key)
	if _, there := elements[k]; there != (o.verb != put) {
		t.Fatalf("%d of %s in %s: it is there: %v", o.verb, k, o.set.name, there)
	}
	delete(elements, k)
	if o.verb != drop {
		elements[k] = o.val
	}
}

// TestEveryPrefixIsCorrect cuts the operations of a change anywhere: a connection
// must always lead to a backend of the old or the new state, or be refused by one.
func TestEveryPrefixIsCorrect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLayout(ip4, 0x4000)
		m := model{}
		f := vip.Frontend{Addr: addr("10.96.0.1"), Port: 80, Protocol: cluster.TCP}
		var old *vip.Route
		var have installed
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			now := randomRoute(t, f)
			want := l.route(now, have)
			for _, o := range l.ops(f, have, want) {
				m.do(t, o)
				m.check(t, l, f, old, now)
			}
			m.check(t, l, f, now, now)
			old, have = now, want
		}
	})
}

// randomRoute draws a route of a frontend, or none.
func randomRoute(t *rapid.T, f vip.Frontend) *vip.Route {
	if rapid.IntRange(0, 4).Draw(t, "route") == 0 {
		return nil
	}
	r := &vip.Route{Frontend: f, Cluster: randomBackends(t, f.Addr.Is4())}
	for c := range r.Decisions {
		r.Decisions[c].Masquerade = len(r.Cluster) > 0 && rapid.Bool().Draw(t, "masquerade")
		if len(r.Cluster) == 0 || rapid.IntRange(0, 3).Draw(t, "action") == 0 {
			r.Decisions[c] = vip.Decision{Action: vip.Reject}
		}
	}
	return r
}

// check follows a packet of each source class.
func (m model) check(t *rapid.T, l *layout, f vip.Frontend, old, now *vip.Route) {
	may := map[netip.AddrPort]bool{}
	for _, r := range []*vip.Route{old, now} {
		if r != nil {
			for _, b := range r.Cluster {
				may[b.AddrPort] = true
			}
		}
	}
	member := l.groupSet(group{}).text(frontendKey(f))
	for c := range vip.Classes {
		action := func(r *vip.Route) vip.Action { return r.Decisions[c].Action }
		refused := false
		for g, s := range l.groups {
			if _, in := m[s][member]; in && g.decisions[c].Action == vip.Reject {
				refused = true
			}
		}
		switch {
		case old == nil || now == nil: // it may be there or not, but what is there must be right
		case action(old) != vip.Forward && action(now) != vip.Forward && !refused:
			t.Fatalf("class %v is refused before and after, but not meanwhile", c)
		case action(old) == vip.Forward && action(now) == vip.Forward && refused:
			t.Fatalf("class %v is forwarded before and after, but refused meanwhile", c)
		case action(old) == vip.Forward && action(now) == vip.Forward && !m.forwarded(l, member):
			t.Fatalf("class %v is forwarded before and after, but not meanwhile", c)
		}
	}
	if !m.forwarded(l, member) {
		return
	}
	settled := false
	for c, s := range l.classes {
		taken := 0
		for slot := range c.size {
			k := frontendKey(f)
			k.slot = uint16(slot)
			if v, ok := m[s][s.text(k)]; ok {
				if !may[v.to] {
					t.Fatalf("slot %d of %s leads to %v, which is no backend before or after", slot, s.name, v.to)
				}
				if slot < max(1, c.size/2) {
					taken++
				}
			}
		}
		settled = settled || taken == int(max(1, c.size/2))
	}
	if !settled {
		t.Fatal("there is no class whose lower half is full: a connection may be left without a backend")
	}
}

func (m model) forwarded(l *layout, member string) bool {
	for g, s := range l.groups {
		if _, in := m[s][member]; in && g.forwards() {
			return true
		}
	}
	return false
}

// TestSizesAreThoseOfTheMessages holds what the writer counts against what it sends.
func TestSizesAreThoseOfTheMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(families).Draw(t, "family")
		l := newLayout(f, 1)
		w := &writer{lists: map[*set]*lists{}}
		size := 0
		for _, o := range randomOps(t, l) {
			size += o.size()
			w.encode(&o)
		}
		got := 0
		for _, list := range w.order {
			got += len(list.drops) + len(list.puts)
		}
		if got != size {
			t.Fatalf("%d bytes counted, %d sent", size, got)
		}
	})
}

func randomOps(t *rapid.T, l *layout) []op {
	var ops []op
	for range rapid.IntRange(1, 5).Draw(t, "routes") {
		f := vip.Frontend{Addr: randomFrontend(t, l.family == ip4), Port: 80, Protocol: cluster.UDP}
		have := l.route(randomRoute(t, f), installed{})
		ops = append(ops, l.ops(f, have, l.route(randomRoute(t, f), have))...)
		for _, k := range intervals(l.family, testHost.Pods.CIDRs) {
			ops = append(ops, op{verb: put, set: l.podCIDRs, key: k})
		}
	}
	return ops
}

// TestElementsAreReadAsWritten reads what the writer writes.
func TestElementsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(families).Draw(t, "family")
		l := newLayout(f, 1)
		for _, o := range randomOps(t, l) {
			if o.verb == drop {
				continue
			}
			var b buffer
			o.set.appendElement(&b, o.key, &o.val)
			k, v, ok := o.set.parseElement(attrOf(b, unix.NFTA_LIST_ELEM))
			k.protocol = o.key.protocol // the keys of backends do not say it
			if !ok || k != o.key || v != o.val {
				t.Fatalf("%s: %v, %v is read as %v, %v, %v", o.set.name, o.key, o.val, k, v, ok)
			}
		}
	})
}

// FuzzElement reads what a kernel could list as an element.
func FuzzElement(f *testing.F) {
	l := newLayout(ip4, 1)
	sets := []*set{l.groupSet(group{}), l.groupSet(group{node: true}), l.classSet(class{false, 6, 8}), l.classSet(class{true, 17, 1}), l.hairpin, l.podCIDRs}
	for i, s := range sets {
		var b buffer
		s.appendElement(&b, key{addr: addr("10.0.0.1"), port: 80, slot: 3, protocol: 6}, &value{netip.MustParseAddrPort("10.1.1.1:80"), "ns/name:port"})
		f.Add(i, []byte(attrOf(b, unix.NFTA_LIST_ELEM)))
	}
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		s := sets[uint(i)%uint(len(sets))]
		k, v, ok := s.parseElement(b)
		if !ok {
			return
		}
		var again buffer
		s.appendElement(&again, k, &v)
		if k2, v2, ok := s.parseElement(attrOf(again, unix.NFTA_LIST_ELEM)); !ok || k2 != k || s.value != nil && v2.to != v.to {
			t.Errorf("%v, %v is read again as %v, %v, %v", k, v, k2, v2, ok)
		}
	})
}

// FuzzAnswer reads what a kernel could answer.
func FuzzAnswer(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, 64))
	f.Add(append(append([]byte{0xff, 0xff, 0xff, 0xff}, make([]byte, 16)...), 9, 0, 1, 0, 'o', 'h', 'n', 'o', 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e := parseError(answer{payload: b}); e != nil && e.Error() == "" {
			t.Error("an error without text")
		}
		parseSet(b)
		parseChain(b)
		commentOf(b)
	})
}

func TestCommentsCannotBreakAListing(t *testing.T) {
	for in, want := range map[string]string{
		"default/web:http":                         "default/web:http",
		"a\"b\\c\nd\x00é":                          "a?b?c?d??",
		fmt.Sprint(bytes.Repeat([]byte("x"), 200)): fmt.Sprint(bytes.Repeat([]byte("x"), 200))[:maxComment],
	} {
		if got := commentText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
