package ipvs

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Inspect reads what the kernel has for a frontend, in the network namespace of the calling thread, and
// compares it with what the table asks for. The lines are for people. It changes nothing. It returns
// dataplane.ErrNoRules where no forwarder has written any in this mode.
func Inspect(o Options, host dataplane.Host, t *vip.Table, f vip.Frontend) ([]string, error) {
	l := newLayout(&host, f.Addr.Is4())
	c, err := openCompanion()
	if err != nil {
		return nil, err
	}
	defer c.close()
	there, err := c.exists(l)
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: expected the capability NET_ADMIN", err)
	case err != nil:
		return nil, err
	case !there:
		return nil, dataplane.ErrNoRules
	}
	have, sealed, err := c.find(l)
	if err != nil {
		return nil, err
	}
	if !sealed {
		return []string{"table " + l.family() + " " + tableName + " is not that of this version and configuration"}, nil
	}
	m := newModel(&host, o.scheduler)
	bound, own, err := readAddrs()
	if err != nil {
		return nil, err
	}
	m.own = own
	m.change(t.Additions())
	x := inspection{model: m, layout: l, frontend: f, have: newFacts(), entries: map[entry]bool{}, draining: map[virtual][]string{}}
	x.find(have)
	if err := x.readServers(); err != nil {
		return nil, err
	}
	if bound[f.Addr] {
		x.have.addrs[f.Addr] = true
	}
	return x.lines(o), nil
}

// An inspection is what the kernel has for one frontend, beside the model of all.
type inspection struct {
	*model
	layout   *layout
	frontend vip.Frontend
	have     facts                // without elements
	entries  map[entry]bool       // the companion's that are about the frontend
	draining map[virtual][]string // backends that end what they began
}

// find picks the entries that are about the frontend out of all. Two frontends may want one mark, and which of
// them got it only the kernel knows: the model learns it from the entries.
func (x *inspection) find(all map[entry]bool) {
	places := x.places(x.frontend)
	for e := range all {
		if !slices.ContainsFunc(places, func(place vip.Frontend) bool { return concerns(e, place) }) {
			continue
		}
		x.entries[e] = true
		if shapes[e.set].isMap {
			delete(x.used, x.marks[x.frontend])
			x.marks[x.frontend], x.used[e.value] = e.value, true
		}
	}
}

// concerns reports whether an entry is about a place: its key begins with it. The set of addresses is about it too,
// that of pods is not.
func concerns(e entry, place vip.Frontend) bool {
	s := shapes[e.set]
	if s.name == setHairpin {
		return false
	}
	var key []byte
	for _, f := range s.fields {
		if f != source {
			key = append(key, fieldBytes(f, element{place: place})...)
		}
	}
	return strings.HasPrefix(e.key, string(key))
}

// want is what the frontend needs.
func (x *inspection) want() facts {
	f := newFacts()
	r := x.routes[x.frontend]
	x.tell([]vip.Change{{Frontend: x.frontend, New: r}}, f)
	if a := x.frontend.Addr; x.addrs[a] > 0 { // also if another port of it is the reason
		f.addrs[a] = true
		f.elements[element{set: setVIPs, place: vip.Frontend{Addr: a}}] = 0
	}
	maps.DeleteFunc(f.elements, func(e element, _ uint32) bool { return e.set == setHairpin })
	return f
}

// readServers reads the virtual servers of the frontend: those that it has, and those that it should have.
func (x *inspection) readServers() error {
	handle, err := openHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	list := map[virtual]bool{}
	for v := range x.want().servers {
		list[v] = true
	}
	for _, place := range x.places(x.frontend) {
		if place.Port != 0 {
			list[at(place)] = true
		}
	}
	for e := range x.entries {
		if shapes[e.set].isMap {
			list[virtual{mark: e.value, v4: e.v4}] = true
		}
	}
	for v := range list {
		if err := x.readServer(handle, v); err != nil {
			return err
		}
	}
	return nil
}

func (x *inspection) readServer(handle *moby.Handle, v virtual) error {
	s, err := handle.GetService(v.service(settings{}))
	if absent(err) == nil && err != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read virtual server %v: %w", v, err)
	}
	backends, err := handle.GetDestinations(s)
	if err != nil {
		return fmt.Errorf("list the backends of virtual server %v: %w", v, err)
	}
	now := server{settings: settingsOf(s)}
	for _, d := range backends {
		if b := backendOf(d); d.Weight > 0 {
			now.backends = append(now.backends, b)
		} else {
			x.draining[v] = append(x.draining[v], fmt.Sprintf("%v (%d connections)", b, d.ActiveConnections+d.InactiveConnections))
		}
	}
	slices.SortFunc(now.backends, netip.AddrPort.Compare)
	x.have.servers[v] = now
	return nil
}

// readAddrs reads which addresses kube-ipvs0 has, and which the node has elsewhere.
func readAddrs() (bound, own map[netip.Addr]bool, err error) {
	k, err := openLink()
	if err != nil {
		return nil, nil, err
	}
	defer k.handle.Close()
	found, err := k.handle.LinkByName(linkName)
	if err == nil {
		k.index = found.Attrs().Index
	}
	return k.list()
}

// lines tell what there is, and whether that is what should be.
func (x *inspection) lines(o Options) []string {
	want := x.want()
	var lines []string
	for _, v := range slices.SortedFunc(maps.Keys(x.have.servers), virtual.compare) {
		s := x.have.servers[v]
		lines = append(lines, fmt.Sprintf("server %v -s %s: %s", v, s.scheduler, orNothing(texts(s.backends))))
		if list := x.draining[v]; len(list) > 0 {
			slices.Sort(list)
			lines = append(lines, "  ends what it began: "+strings.Join(list, " "))
		}
		if w, ok := want.servers[v]; ok && s.scheduler != w.scheduler && s.scheduler == o.scheduler("") {
			lines = append(lines, "  in place of scheduler "+w.scheduler+": look whether the kernel has the module ip_vs_"+w.scheduler)
			w.scheduler = s.scheduler
			want.servers[v] = w
		}
	}
	var in []string
	if x.have.addrs[x.frontend.Addr] {
		in = append(in, linkName)
	}
	for e := range x.entries {
		if !slices.Contains(in, e.set) {
			in = append(in, e.set)
		}
	}
	slices.Sort(in)
	lines = append(lines, "in "+orNothing(in))
	return append(lines, x.verdict(want)...)
}

func texts(list []netip.AddrPort) []string {
	var words []string
	for _, b := range list {
		words = append(words, b.String())
	}
	return words
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, " ")
}

// verdict tells what differs.
func (x *inspection) verdict(want facts) []string {
	elements := want.elements
	want.elements = nil
	s := diff(x.have, want)
	var wrong []string
	for _, c := range s.serve {
		switch w := "server " + c.virtual.String(); {
		case c.isNew:
			wrong = append(wrong, w+" is missing")
		case c.changed:
			wrong = append(wrong, fmt.Sprintf("%s has other settings than -s %s, affinity %d s", w, c.scheduler, c.affinity))
		default:
			wrong = append(wrong, fmt.Sprintf("%s lacks %s and has %s besides", w, orNothing(texts(c.add)), orNothing(texts(c.remove))))
		}
	}
	for _, v := range s.retire {
		wrong = append(wrong, "server "+v.String()+" is one too many")
	}
	if n := len(s.bind) + len(s.unbind); n > 0 {
		wrong = append(wrong, fmt.Sprintf("on %s %v is to be: %v", linkName, x.frontend.Addr, len(s.bind) > 0))
	}
	first, last := diffEntries(x.entries, entries(elements))
	if n := len(first.put) + len(first.drop) + len(last.drop); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d elements of the sets differ", n))
	}
	for i := range wrong {
		wrong[i] = "NOT AS INTENDED: " + wrong[i]
	}
	if len(wrong) == 0 {
		return []string{"as intended"}
	}
	return wrong
}
