package nftables

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// orphan reports whether a table outlived its owner and waits for another.
func orphan(t *nft.TableInfo) bool {
	return t.Flags&(nft.TableOwner|nft.TablePersist) == nft.TablePersist
}

// ownedByOther reports whether the kernel keeps a socket off a table.
func ownedByOther(t *nft.TableInfo, c *nft.Conn) bool {
	return t.Flags&nft.TableOwner != 0 && t.Owner != c.Port()
}

// foundChain is what the kernel lists of a chain.
type foundChain struct {
	nft.ChainInfo
	rules [][]byte // the expressions of each
}

// foundLayout is everything in a table but elements.
type foundLayout struct {
	sets   map[string]nft.SetInfo
	chains map[string]*foundChain
}

// findLayout lists sets, chains and rules of a table. It starts over if another
// program commits meanwhile.
func findLayout(c *nft.Conn, table nft.Table) (found foundLayout, err error) {
	for range 10 {
		if found, err = findLayoutOnce(c, table); !errors.Is(err, nft.ErrInterrupted) {
			break
		}
	}
	return found, err
}

func findLayoutOnce(c *nft.Conn, table nft.Table) (foundLayout, error) {
	sets, err := c.FindSets(table)
	found := foundLayout{sets, map[string]*foundChain{}}
	if err != nil {
		return found, err
	}
	chains, err := c.FindChains(table)
	if err != nil {
		return found, err
	}
	for name, chain := range chains {
		found.chains[name] = &foundChain{ChainInfo: chain}
	}
	err = c.ListRules(table, "", func(r nft.RuleInfo) {
		if chain := found.chains[r.Chain]; chain != nil {
			chain.rules = append(chain.rules, slices.Clone(r.Exprs))
		}
	})
	return found, err
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
func findElements(c *nft.Conn, l *layout, table nft.Table, m made) (*foundElements, error) {
	found := newFound()
	for _, s := range l.sets(m) {
		if s.Dynamic {
			continue
		}
		n, err := findSetElements(c, table, s, found.into(l, s))
		if err != nil {
			return nil, err
		}
		found.count[s] = n
	}
	return found, nil
}

// findSetElements lists the elements of one set and counts them. An element that is missing or listed twice because
// other programs commit does no harm: adding it again is no change, and deleting it fails and leads to a Sync.
func findSetElements(c *nft.Conn, table nft.Table, s *set, f func(key, value)) (count int, err error) {
	var odd error
	err = c.ListElements(table, s.Name, func(e nft.Element) {
		k, v, ok := s.parse(e)
		if !ok {
			odd = fmt.Errorf("list %s of table %v: an element %x that is none of ours", s.Name, table, e.Key)
			return
		}
		count++
		f(k, v)
	})
	if err = errors.Join(err, odd); err != nil {
		return 0, err
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
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	found := map[vip.Frontend]bool{}
	var errs []error
	for _, f := range families {
		for _, name := range []string{tableName, kubeProxyTable} {
			t := newTable(c, newLayout(f, dataplane.Host{}), name)
			there, err := c.FindTable(t.id())
			if err == nil && there != nil {
				err = t.findFrontends(found)
			}
			errs = append(errs, err)
		}
	}
	return slices.Collect(maps.Keys(found)), errors.Join(errs...)
}

// findFrontends lists what is in the sets of a table whose keys are those of frontends.
func (t *table) findFrontends(found map[vip.Frontend]bool) error {
	sets, err := t.c.FindSets(t.id())
	if err != nil {
		return err
	}
	for name, s := range sets {
		for _, node := range []bool{false, true} {
			fields := t.frontendFields(node)
			if !s.HasKey(fields) {
				continue
			}
			_, err := findSetElements(t.c, t.id(), newSet(name, fields, nil), func(k key, _ value) {
				found[t.frontend(k)] = true
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
