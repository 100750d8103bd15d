package nftables

import (
	"fmt"
	"slices"
)

// remake makes the groups and classes that are not there, and removes those that
// are not wanted any more; they must be without elements.
func (t *table) remake(want made) error {
	if want.equal(t.made) {
		return nil
	}
	tx := &transaction{}
	tx.begin()
	if err := tx.changeLayout(t, &t.made, want); err != nil {
		return err
	}
	if err := t.c.commitParts(tx); err != nil {
		return err
	}
	t.made = want.clone()
	return nil
}

// changeLayout adds what brings a table from one layout to another; from nil is
// from nothing. The messages may be cut into transactions anywhere: sets and chains come before the rules
// that name them and go after these, and rules that come or go are about sets without elements.
func (t *transaction) changeLayout(table *table, from *made, to made) error {
	var before []*set
	var old []chain
	if from != nil {
		before, old = table.sets(*from), table.chains(*from)
	}
	after := table.sets(to)
	for i, s := range after {
		if !slices.Contains(before, s) {
			t.newSet(table.family, table.name, s, uint32(i+1))
		}
	}
	if err := t.changeChains(table, old, table.chains(to)); err != nil {
		return err
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			t.deleteSet(table.family, table.name, s)
		}
	}
	return nil
}

// changeChains adds chains, rules, and then what deletes chains: a rule must not
// lead to a chain that is not there.
func (t *transaction) changeChains(table *table, before, after []chain) error {
	find := func(list []chain, name string) int {
		return slices.IndexFunc(list, func(c chain) bool { return c.name == name })
	}
	for _, c := range after {
		if find(before, c.name) < 0 {
			t.newChain(table.family, table.name, c)
		}
	}
	for _, c := range after {
		var old chain
		if i := find(before, c.name); i >= 0 {
			old = before[i]
		}
		if err := t.changeRules(table, old, c); err != nil {
			return err
		}
	}
	var gone []string
	for _, c := range before {
		if find(after, c.name) < 0 {
			t.deleteRule(table.family, table.name, c.name, 0)
			gone = append(gone, c.name)
		}
	}
	for _, name := range gone {
		t.deleteChain(table.family, table.name, name)
	}
	return nil
}

// changeRules adds and deletes the rules in which two versions of a chain differ,
// and no others: when a rule is added the kernel walks the map that it looks up.
func (t *transaction) changeRules(table *table, before, after chain) error {
	same := func(a, b phrase) bool { return a.text == b.text }
	if slices.EqualFunc(before.rules, after.rules, same) {
		return nil
	}
	var handles []uint64
	if len(before.rules) > 0 {
		var err error
		if handles, err = table.c.ruleHandles(table.family, table.name, after.name); err != nil {
			return err
		}
		if len(handles) != len(before.rules) {
			return fmt.Errorf("chain %s of table %s %s has %d rules, expected %d: another program changed it",
				after.name, table.family.name, table.name, len(handles), len(before.rules))
		}
	}
	old := before.rules
	for _, r := range after.rules {
		// Rules that stay keep their order: both versions are sorted alike.
		if keep := slices.IndexFunc(old, func(o phrase) bool { return same(o, r) }); keep >= 0 {
			for _, h := range handles[:keep] {
				t.deleteRule(table.family, table.name, after.name, h)
			}
			old, handles = old[keep+1:], handles[keep+1:]
			continue
		}
		var next uint64
		if len(handles) > 0 {
			next = handles[0]
		}
		if err := t.newRule(table.family, table.name, after.name, r, next); err != nil {
			return err
		}
	}
	for _, h := range handles {
		t.deleteRule(table.family, table.name, after.name, h)
	}
	return nil
}
