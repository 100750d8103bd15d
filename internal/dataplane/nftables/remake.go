package nftables

import (
	"fmt"
	"slices"

	"github.com/signpost-dns/signpost/internal/nft"
)

// remake makes the groups and classes that are not there, and removes those that
// are not wanted any more; they must be without elements.
func (t *table) remake(want made) error {
	if want.equal(t.made) {
		return nil
	}
	tx := nft.NewTransaction()
	if err := t.changeLayout(tx, &t.made, want); err != nil {
		return err
	}
	if err := t.c.CommitParts(tx); err != nil {
		return err
	}
	t.made = want.clone()
	return nil
}

// changeLayout adds what brings a table from one layout to another; from nil is
// from nothing. The messages may be cut into transactions anywhere: sets and chains come before the rules
// that name them and go after these, and rules that come or go are about sets without elements.
func (t *table) changeLayout(tx *nft.Transaction, from *made, to made) error {
	var before []*set
	var old []nft.Chain
	if from != nil {
		before, old = t.sets(*from), t.chains(*from)
	}
	after := t.sets(to)
	for _, s := range after {
		if !slices.Contains(before, s) {
			tx.NewSet(t.id(), &s.Set)
		}
	}
	if err := t.changeChains(tx, old, t.chains(to)); err != nil {
		return err
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			tx.DeleteSet(t.id(), s.Name)
		}
	}
	return nil
}

// changeChains adds chains, rules, and then what deletes chains: a rule must not
// lead to a chain that is not there.
func (t *table) changeChains(tx *nft.Transaction, before, after []nft.Chain) error {
	find := func(list []nft.Chain, name string) int {
		return slices.IndexFunc(list, func(c nft.Chain) bool { return c.Name == name })
	}
	for _, c := range after {
		if find(before, c.Name) < 0 {
			tx.NewChain(t.id(), c)
		}
	}
	for _, c := range after {
		var old nft.Chain
		if i := find(before, c.Name); i >= 0 {
			old = before[i]
		}
		if err := t.changeRules(tx, old, c); err != nil {
			return err
		}
	}
	var gone []string
	for _, c := range before {
		if find(after, c.Name) < 0 {
			tx.DeleteRule(t.id(), c.Name, 0)
			gone = append(gone, c.Name)
		}
	}
	for _, name := range gone {
		tx.DeleteChain(t.id(), name)
	}
	return nil
}

// changeRules adds and deletes the rules in which two versions of a chain differ,
// and no others: when a rule is added the kernel walks the map that it looks up.
func (t *table) changeRules(tx *nft.Transaction, before, after nft.Chain) error {
	same := func(a, b nft.Statement) bool { return a.Text == b.Text }
	if slices.EqualFunc(before.Rules, after.Rules, same) {
		return nil
	}
	var handles []uint64
	if len(before.Rules) > 0 {
		var err error
		if handles, err = t.ruleHandles(after.Name); err != nil {
			return err
		}
		if len(handles) != len(before.Rules) {
			return fmt.Errorf("chain %s of table %v has %d rules, expected %d: another program changed it",
				after.Name, t.id(), len(handles), len(before.Rules))
		}
	}
	old := before.Rules
	for _, r := range after.Rules {
		// Rules that stay keep their order: both versions are sorted alike.
		if keep := slices.IndexFunc(old, func(o nft.Statement) bool { return same(o, r) }); keep >= 0 {
			for _, h := range handles[:keep] {
				tx.DeleteRule(t.id(), after.Name, h)
			}
			old, handles = old[keep+1:], handles[keep+1:]
			continue
		}
		var next uint64
		if len(handles) > 0 {
			next = handles[0]
		}
		if err := tx.NewRule(t.id(), after.Name, r, next); err != nil {
			return err
		}
	}
	for _, h := range handles {
		tx.DeleteRule(t.id(), after.Name, h)
	}
	return nil
}

// ruleHandles returns the handles of the rules of a chain, in order.
func (t *table) ruleHandles(chain string) (handles []uint64, err error) {
	err = t.c.ListRules(t.id(), chain, func(r nft.RuleInfo) { handles = append(handles, r.Handle) })
	return handles, err
}
