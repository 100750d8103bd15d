package nftables

// idleLooks is how often Tick sees a shape without elements, once a second, before it is removed: what a
// tenant creates and deletes in turn is not made anew each time.
const idleLooks = 10

// tidy removes the groups, classes, source ranges and timeouts that no frontend needs any more.
// Every packet pays for their rules, so they must not stay until all is written again.
func (t *table) tidy() error {
	need := t.needed()
	if len(t.unfinished) > 0 || len(t.behind) > 0 || need.equal(t.made) {
		t.idle = 0
		return nil
	}
	if t.idle++; t.idle < idleLooks {
		return nil
	}
	t.idle = 0
	return t.remake(need)
}

// needed is what was made and has elements, or timeouts that a frontend has.
func (t *table) needed() made {
	need := newMade()
	for g := range t.made.groups {
		if t.elements[t.groupSet(g)] > 0 {
			need.groups[g] = true
		}
	}
	for c := range t.made.classes {
		if t.elements[t.classSet(c)] > 0 {
			need.classes[c] = true
		}
	}
	for r := range t.made.ranges {
		if t.elements[t.rangesSet(r)] > 0 {
			need.ranges[r] = true
		}
	}
	for seconds := range t.made.timeouts {
		if t.timeouts[seconds] > 0 {
			need.timeouts[seconds] = true
		}
	}
	return need
}
