package nft

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Chain is a chain with its rules. A base chain has a Hook.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Statement
}

// Hook is the place of a base chain. Its policy is to accept.
type Hook struct {
	Type     string // filter or nat
	Name     string
	Number   uint32
	Priority int32
	Text     string // the priority as nft shows it
}

// policyAccept is NF_ACCEPT.
const policyAccept = 1

// NewChain adds a chain without its rules.
func (t *Transaction) NewChain(table Table, c Chain) {
	t.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, table, "chain "+c.Name, func(b *buffer) {
		b.string(unix.NFTA_CHAIN_NAME, c.Name)
		if c.Hook == nil {
			return
		}
		at := b.nest(unix.NFTA_CHAIN_HOOK)
		b.uint32(unix.NFTA_HOOK_HOOKNUM, c.Hook.Number)
		b.uint32(unix.NFTA_HOOK_PRIORITY, uint32(c.Hook.Priority))
		b.end(at)
		b.uint32(unix.NFTA_CHAIN_POLICY, policyAccept)
		b.string(unix.NFTA_CHAIN_TYPE, c.Hook.Type)
	})
}

// DeleteChain deletes a chain that has no rules and that no rule leads to.
func (t *Transaction) DeleteChain(table Table, name string) {
	t.add(unix.NFT_MSG_DELCHAIN, 0, table, "chain "+name, func(b *buffer) { b.string(unix.NFTA_CHAIN_NAME, name) })
}

// NewRule adds a rule: before the one with a handle, or at the end.
func (t *Transaction) NewRule(table Table, chain string, r Statement, before uint64) error {
	list, err := table.Family.marshalAll(r.Exprs)
	if err != nil {
		return fmt.Errorf("rule %q: %w", r.Text, err)
	}
	flags := uint16(unix.NLM_F_CREATE)
	if before == 0 {
		flags |= unix.NLM_F_APPEND
	}
	t.add(unix.NFT_MSG_NEWRULE, flags, table, fmt.Sprintf("rule %q in chain %s", r.Text, chain), func(b *buffer) {
		b.string(unix.NFTA_RULE_CHAIN, chain)
		if before != 0 {
			b.uint64(unix.NFTA_RULE_POSITION, before)
		}
		b.attr(nested|unix.NFTA_RULE_EXPRESSIONS, list...)
	})
	return nil
}

// DeleteRule deletes the rule with a handle, or all of a chain.
func (t *Transaction) DeleteRule(table Table, chain string, handle uint64) {
	t.add(unix.NFT_MSG_DELRULE, 0, table, "rules of chain "+chain, func(b *buffer) {
		b.string(unix.NFTA_RULE_CHAIN, chain)
		if handle != 0 {
			b.uint64(unix.NFTA_RULE_HANDLE, handle)
		}
	})
}

// ChainInfo is what the kernel lists of a chain.
type ChainInfo struct {
	kind           string // empty unless it is a base chain
	hook, priority uint32
	policy         uint32
}

// Has reports whether the chain has a hook, or none if that is nil.
func (i ChainInfo) Has(h *Hook) bool {
	if h == nil {
		return i.kind == ""
	}
	return i == ChainInfo{h.Type, h.Number, uint32(h.Priority), policyAccept}
}

// FindChains lists the chains of a table, by name.
func (c *Conn) FindChains(table Table) (map[string]ChainInfo, error) {
	found := map[string]ChainInfo{}
	err := c.list(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, table, "", func(a attributes) {
		if text(a[unix.NFTA_CHAIN_TABLE]) == table.Name { // the kernel lists those of all tables
			found[text(a[unix.NFTA_CHAIN_NAME])] = chainInfo(a)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the chains of table %v: %w", table, err)
	}
	return found, nil
}

func chainInfo(a attributes) ChainInfo {
	hook := parse(a[unix.NFTA_CHAIN_HOOK])
	return ChainInfo{
		kind: text(a[unix.NFTA_CHAIN_TYPE]), policy: uint32(number(a[unix.NFTA_CHAIN_POLICY])),
		hook: uint32(number(hook[unix.NFTA_HOOK_HOOKNUM])), priority: uint32(number(hook[unix.NFTA_HOOK_PRIORITY])),
	}
}

// RuleInfo is what the kernel lists of a rule. The expressions are valid only while f of ListRules runs.
type RuleInfo struct {
	Chain  string
	Handle uint64
	Exprs  []byte
}

// ListRules calls f with each rule of a chain in order, or of all chains of a table if the name is empty.
func (c *Conn) ListRules(table Table, chain string, f func(RuleInfo)) error {
	err := c.list(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, table, chain, func(a attributes) {
		f(RuleInfo{text(a[unix.NFTA_RULE_CHAIN]), number(a[unix.NFTA_RULE_HANDLE]), a[unix.NFTA_RULE_EXPRESSIONS]})
	})
	if err != nil {
		return fmt.Errorf("list the rules of table %v: %w", table, err)
	}
	return nil
}
