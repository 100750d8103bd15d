package nftables

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// foundTable is what the kernel says of a table.
type foundTable struct {
	handle uint64
	flags  uint32
	owner  uint32 // port of the socket that owns it, if the flag says that there is one
	title  string
}

// orphan reports whether the table outlived its owner and waits for another.
func (f foundTable) orphan() bool { return f.flags&(tableOwner|tablePersist) == tablePersist }

// ownedByOther reports whether the kernel keeps us off the table.
func (f foundTable) ownedByOther(c *conn) bool {
	return f.flags&tableOwner != 0 && f.owner != c.port
}

// findTable looks a table up; it is nil if there is none.
func (c *conn) findTable(f *family, name string) (*foundTable, error) {
	found := &foundTable{}
	err := c.get(unix.NFT_MSG_GETTABLE, 0, f.number, func(b *buffer) {
		b.string(unix.NFTA_TABLE_NAME, name)
	}, func(payload []byte) {
		for kind, v := range attrs(payload) {
			switch kind {
			case unix.NFTA_TABLE_FLAGS:
				found.flags = uint32(number(v))
			case tableHandle:
				found.handle = number(v)
			case tableOwnerID:
				found.owner = uint32(number(v))
			case tableUserdata:
				found.title = commentOf(v)
			}
		}
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up table %s %s: %w", f.name, name, err)
	}
	return found, nil
}

// foundSet is what the kernel says of a set.
type foundSet struct {
	flags, keyType, keySize, dataType, dataSize uint32
	size                                        uint32 // how many elements it takes, 0 if not limited
	notes                                       string
	count                                       int // of elements, -1 if not told (before Linux 6.15)
}

// foundChain is what the kernel says of a chain.
type foundChain struct {
	kind           string // empty unless it is a base chain
	hook, priority uint32
	policy         uint32
	rules          [][]byte // the expressions of each
}

// foundLayout is everything in a table but elements.
type foundLayout struct {
	sets   map[string]foundSet
	chains map[string]*foundChain
}

const setCount = 20 // NFTA_SET_COUNT, Linux 6.15

// findLayout lists sets, chains and rules of a table. It starts over if another
// program commits meanwhile.
func (c *conn) findLayout(f *family, table string) (found foundLayout, err error) {
	for range 10 {
		if found, err = c.findLayoutOnce(f, table); !errors.Is(err, errInterrupted) {
			break
		}
	}
	return found, err
}

func (c *conn) findLayoutOnce(f *family, table string) (foundLayout, error) {
	sets, err := c.findSets(f, table)
	found := foundLayout{sets, map[string]*foundChain{}}
	if err != nil {
		return found, err
	}
	err = c.get(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, f.number, nil, func(b []byte) {
		if text(attrOf(b, unix.NFTA_CHAIN_TABLE)) == table {
			name, chain := parseChain(b)
			found.chains[name] = chain
		}
	})
	if err != nil {
		return found, fmt.Errorf("list the chains of %s: %w", f.name, err)
	}
	err = c.get(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, f.number, func(b *buffer) { b.string(unix.NFTA_RULE_TABLE, table) }, func(b []byte) {
		if chain := found.chains[text(attrOf(b, unix.NFTA_RULE_CHAIN))]; chain != nil {
			chain.rules = append(chain.rules, slices.Clone(attrOf(b, unix.NFTA_RULE_EXPRESSIONS)))
		}
	})
	if err != nil {
		return found, fmt.Errorf("list the rules of table %s %s: %w", f.name, table, err)
	}
	return found, nil
}

// findSets lists the sets of a table.
func (c *conn) findSets(f *family, table string) (map[string]foundSet, error) {
	found := map[string]foundSet{}
	err := c.get(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, f.number, func(b *buffer) {
		b.string(unix.NFTA_SET_TABLE, table)
	}, func(b []byte) {
		name, s := parseSet(b)
		found[name] = s
	})
	if err != nil {
		return nil, fmt.Errorf("list the sets of table %s %s: %w", f.name, table, err)
	}
	return found, nil
}

func parseSet(b []byte) (name string, s foundSet) {
	s.count = -1
	for kind, v := range attrs(b) {
		switch kind {
		case unix.NFTA_SET_NAME:
			name = text(v)
		case unix.NFTA_SET_FLAGS:
			s.flags = uint32(number(v))
		case unix.NFTA_SET_KEY_TYPE:
			s.keyType = uint32(number(v))
		case unix.NFTA_SET_KEY_LEN:
			s.keySize = uint32(number(v))
		case unix.NFTA_SET_DATA_TYPE:
			s.dataType = uint32(number(v))
		case unix.NFTA_SET_DATA_LEN:
			s.dataSize = uint32(number(v))
		case unix.NFTA_SET_DESC:
			s.size = uint32(number(attrOf(v, unix.NFTA_SET_DESC_SIZE)))
		case unix.NFTA_SET_USERDATA:
			s.notes = string(v)
		case setCount:
			s.count = int(number(v))
		}
	}
	return name, s
}

func parseChain(b []byte) (name string, c *foundChain) {
	c = &foundChain{}
	for kind, v := range attrs(b) {
		switch kind {
		case unix.NFTA_CHAIN_NAME:
			name = text(v)
		case unix.NFTA_CHAIN_TYPE:
			c.kind = text(v)
		case unix.NFTA_CHAIN_HOOK:
			c.hook = uint32(number(attrOf(v, unix.NFTA_HOOK_HOOKNUM)))
			c.priority = uint32(number(attrOf(v, unix.NFTA_HOOK_PRIORITY)))
		case unix.NFTA_CHAIN_POLICY:
			c.policy = uint32(number(v))
		}
	}
	return name, c
}

// ruleHandles are the handles of the rules of a chain, in order.
func (c *conn) ruleHandles(f *family, table, chain string) ([]uint64, error) {
	var handles []uint64
	err := c.get(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, f.number, func(b *buffer) {
		b.string(unix.NFTA_RULE_TABLE, table)
		b.string(unix.NFTA_RULE_CHAIN, chain)
	}, func(b []byte) {
		handles = append(handles, number(attrOf(b, unix.NFTA_RULE_HANDLE)))
	})
	if err != nil {
		return nil, fmt.Errorf("list the rules of chain %s of table %s %s: %w", chain, f.name, table, err)
	}
	return handles, nil
}

// foundElements is what a table has, by frontend; the key has no slot and source, and no
// address for a NodePort.
type foundElements struct {
	frontends                                  map[key]*installed
	hairpin, nodeAddrs, podCIDRs, serviceCIDRs map[key]bool
	owners                                     map[uint16]remembered // by number
	count                                      map[*set]int
}

func newFound() *foundElements {
	return &foundElements{
		map[key]*installed{}, map[key]bool{}, map[key]bool{}, map[key]bool{}, map[key]bool{},
		map[uint16]remembered{}, map[*set]int{},
	}
}

// of is what a frontend has.
func (found *foundElements) of(f vip.Frontend) installed {
	if i := found.frontends[frontendKey(f)]; i != nil {
		return *i
	}
	return installed{}
}

// findElements lists the elements of a table, but not the clients that it remembers.
func (c *conn) findElements(l *layout, table string, m made) (*foundElements, error) {
	found := newFound()
	for _, s := range l.sets(m) {
		if s.dynamic {
			continue
		}
		n, err := c.findSetElements(l, table, s, found.into(l, s))
		if err != nil {
			return nil, err
		}
		found.count[s] = n
	}
	return found, nil
}

// findSetElements lists the elements of one set and counts them.
func (c *conn) findSetElements(l *layout, table string, s *set, f func(key, value)) (count int, err error) {
	var odd error
	err = c.get(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, l.number, func(b *buffer) {
		b.string(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b.string(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	}, func(b []byte) {
		for _, element := range attrs(attrOf(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			k, v, ok := s.parseElement(element)
			if !ok {
				odd = fmt.Errorf("an element %x that is none of ours", element)
				continue
			}
			count++
			f(k, v)
		}
	})
	if errors.Is(err, errInterrupted) {
		// That takes long, and others commit meanwhile. What was missed or listed twice does
		// no harm: adding it again is no change, and deleting it fails and leads to a Sync.
		err = nil
	}
	if err = errors.Join(err, odd); err != nil {
		return 0, fmt.Errorf("list %s of table %s %s: %w", s.name, l.family.name, table, err)
	}
	return count, nil
}

// into gives the function that takes in the elements of a set.
func (found *foundElements) into(l *layout, s *set) func(key, value) {
	for of, keys := range map[*set]map[key]bool{
		l.hairpin: found.hairpin, l.nodeAddrs: found.nodeAddrs, l.podCIDRs: found.podCIDRs, l.serviceCIDRs: found.serviceCIDRs,
	} {
		if s == of {
			return func(k key, _ value) { keys[k] = true }
		}
	}
	for of, b := range l.backends {
		if s == b {
			return func(k key, v value) {
				owner, backend, _ := splitNumber(k.number)
				found.owner(owner).backends[of][backend] = v.to
			}
		}
	}
	switch {
	case s.class.affinity:
		return func(k key, v value) {
			owner, _, _ := splitNumber(k.number)
			_, backend, _ := splitNumber(v.number)
			slots := found.owner(owner).slots
			slots[s.class] = withSlot(slots[s.class], k.slot, backend)
		}
	case s.class.size > 0:
		return func(k key, v value) {
			k.protocol = s.class.protocol
			slots := found.frontend(k).placement(s)
			*slots = withSlot(*slots, k.slot, v.to)
		}
	}
	return func(k key, v value) {
		i := found.frontend(k)
		i.in = append(i.in, membership{s, k.source, v.number, v.comment})
	}
}

// withSlot puts something into a slot.
func withSlot[T any](slots []T, at uint16, v T) []T {
	if n := int(at) + 1; n > len(slots) {
		slots = append(slots, make([]T, n-len(slots))...)
	}
	slots[at] = v
	return slots
}

func (found *foundElements) owner(n uint16) remembered {
	if _, ok := found.owners[n]; !ok {
		found.owners[n] = newRemembered()
	}
	return found.owners[n]
}

func (found *foundElements) frontend(k key) *installed {
	k.slot, k.source = 0, netip.Addr{}
	i := found.frontends[k]
	if i == nil {
		i = &installed{}
		found.frontends[k] = i
	}
	return i
}

func (i *installed) placement(s *set) *[]netip.AddrPort {
	for n := range i.slots {
		if i.slots[n].set == s {
			return &i.slots[n].slots
		}
	}
	i.slots = append(i.slots, placement{set: s})
	return &i.slots[len(i.slots)-1].slots
}

// Frontends returns the frontends that our tables and kube-proxy's have in the network namespace of the calling
// thread, whatever version wrote them. Their sets and maps have keys of one type.
func Frontends() (list []vip.Frontend, err error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	found := map[vip.Frontend]bool{}
	var errs []error
	for _, f := range families {
		for _, name := range []string{tableName, kubeProxyTable} {
			there, err := c.findTable(f, name)
			if err == nil && there != nil {
				err = c.findFrontends(newTable(c, newLayout(f, dataplane.Host{}), name), found)
			}
			errs = append(errs, err)
		}
	}
	return slices.Collect(maps.Keys(found)), errors.Join(errs...)
}

// findFrontends lists what is in the sets of a table whose keys are those of frontends.
func (c *conn) findFrontends(t *table, found map[vip.Frontend]bool) error {
	sets, err := c.findSets(t.family, t.name)
	if err != nil {
		return err
	}
	for name, s := range sets {
		for _, node := range []bool{false, true} {
			fields := t.frontendFields(node)
			if kind, size := typeOf(fields); s.keyType != kind || s.keySize != size {
				continue
			}
			_, err := c.findSetElements(t.layout, t.name, &set{name: name, key: fields}, func(k key, _ value) {
				found[t.frontend(k)] = true
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
