package nftables

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// machine runs rules on packets as nf_tables does, from the expressions that are sent
// to the kernel. It is slow and obvious; what it does not know fails the test.
type machine struct {
	t        *rapid.T
	host     vip.Host
	chains   map[string]nft.Chain
	sets     map[string]*set
	elements map[string]map[string]value // by name of the set and key, as bytes
	clients  map[string]*client          // what packets wrote, by name of the map and key
	now      uint32                      // seconds
	random   func(n uint32) uint32
}

// client is an element that packets wrote.
type client struct {
	value   []byte
	expires uint32
}

// packet is the first of a connection, or one that follows the server's answer.
type packet struct {
	src, dst       netip.Addr
	protocol       byte
	port           uint16
	in             string // interface; empty if a process of the node sends it
	mark, priority uint32
	translated     bool
	established    bool           // follows the answer
	dialed         netip.AddrPort // before translation
}

// result is what became of a packet.
type result struct {
	action vip.Action     // Forward, Reject, Drop; Accept if nothing was done to it
	reset  bool           // with Reject
	to     netip.AddrPort // with Forward
	masq   bool
}

func newMachine(t *rapid.T, host vip.Host) *machine {
	return &machine{
		t: t, host: host, elements: map[string]map[string]value{}, clients: map[string]*client{},
		random: func(n uint32) uint32 { return uint32(rapid.Uint64().Draw(t, "numgen") % uint64(n)) },
	}
}

// load replaces rules and sets; elements stay.
func (m *machine) load(l *layout, made made) {
	m.chains, m.sets = map[string]nft.Chain{}, map[string]*set{}
	for _, c := range l.chains(made) {
		m.chains[c.Name] = c
	}
	for _, s := range l.sets(made) {
		m.sets[s.Name] = s
	}
}

// do performs an operation on an element.
func (m *machine) do(o op) {
	if m.sets[o.set.Name] != o.set {
		m.t.Fatalf("there is no set %s", o.set.Name)
	}
	elements := m.elements[o.set.Name]
	if elements == nil {
		elements = map[string]value{}
		m.elements[o.set.Name] = elements
	}
	k := string(o.set.appendKey(nil, o.key))
	if o.key.end {
		k += "end"
	}
	if _, there := elements[k]; there != (o.verb != put) {
		m.t.Fatalf("%d of %s in %s: it is there: %v", o.verb, o.set.elementText(o.key, value{}), o.set.Name, there)
	}
	delete(elements, k)
	if o.verb != drop {
		elements[k] = o.val
	}
}

// follow takes the packet through all hooks that follows the answer to one.
func (m *machine) follow(p packet, r result) {
	p.dialed = netip.AddrPortFrom(p.dst, p.port)
	p.dst, p.port, p.translated, p.established = r.to.Addr(), r.to.Port(), true, true
	m.pass(p)
}

// send takes the first packet of a connection through all hooks.
func (m *machine) send(p packet) (result, packet) {
	p.dialed = netip.AddrPortFrom(p.dst, p.port)
	return m.pass(p)
}

func (m *machine) pass(p packet) (result, packet) {
	hook := uint32(unix.NF_INET_PRE_ROUTING)
	if p.in == "" {
		hook = unix.NF_INET_LOCAL_OUT
	}
	r := result{action: vip.Accept}
	if !m.hook(hook, &p, &r) {
		return r, p
	}
	m.hook(unix.NF_INET_POST_ROUTING, &p, &r)
	return r, p
}

// hook runs the base chains of a hook, and is false if the packet does not go on.
func (m *machine) hook(number uint32, p *packet, r *result) bool {
	var base []nft.Chain
	for _, c := range m.chains {
		if c.Hook != nil && c.Hook.Number == number && !(p.established && c.Hook.Type == "nat") {
			base = append(base, c)
		}
	}
	slices.SortFunc(base, func(a, b nft.Chain) int { return int(a.Hook.Priority - b.Hook.Priority) })
	for _, c := range base {
		if m.run(c, p, r) == stopped && r.action != vip.Forward && !r.masq {
			return false
		}
	}
	return true
}

// How a rule or chain ends.
type end int

const (
	broken   end = iota // the rule does not match
	next                // the next expression, rule, or base chain
	returned            // from the chain
	stopped             // a verdict for good
)

func (m *machine) run(c nft.Chain, p *packet, r *result) end {
	if _, ok := m.chains[c.Name]; !ok {
		m.t.Fatalf("there is no chain %q", c.Name)
	}
	for _, rule := range c.Rules {
		switch e := m.rule(rule, p, r); e {
		case returned:
			return next
		case stopped:
			return e
		}
	}
	return next
}

func (m *machine) rule(rule nft.Statement, p *packet, r *result) end {
	var registers [64]byte
	at := func(n uint32) []byte {
		if n >= unix.NFT_REG32_00 {
			return registers[4*(n-unix.NFT_REG32_00):]
		}
		return registers[16*(n-unix.NFT_REG_1):]
	}
	for _, e := range rule.Exprs {
		end := next
		switch e := e.(type) {
		case *expr.Verdict:
			switch e.Kind {
			case expr.VerdictReturn:
				return returned
			case expr.VerdictDrop:
				*r = result{action: vip.Drop}
				return stopped
			case expr.VerdictJump, expr.VerdictGoto:
				end = m.run(m.chains[e.Chain], p, r)
				if end == next && e.Kind == expr.VerdictGoto {
					return returned
				}
			default:
				m.t.Fatalf("verdict %v", e.Kind)
			}
		case *expr.Reject:
			*r = result{action: vip.Reject, reset: e.Type == unix.NFT_REJECT_TCP_RST}
			return stopped
		case *expr.Masq:
			r.masq = true
			return stopped
		case *expr.NAT:
			size := p.dst.BitLen() / 8
			to, _ := netip.AddrFromSlice(at(e.RegAddrMin)[:size])
			*r = result{action: vip.Forward, to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(at(e.RegProtoMin)))}
			p.dst, p.port, p.translated = to, r.to.Port(), true
			return stopped
		default:
			if !m.statement(e, p, at) {
				return broken
			}
		}
		if end != next {
			return end
		}
	}
	return next
}

// statement runs what only reads and writes registers, sets and the packet.
func (m *machine) statement(e expr.Any, p *packet, at func(uint32) []byte) bool {
	switch e := e.(type) {
	case *expr.Payload:
		copy(at(e.DestRegister), m.payload(e, p))
	case *expr.Meta:
		m.meta(e, p, at(e.Register))
	case *expr.Cmp:
		return bytes.Equal(at(e.Register)[:len(e.Data)], e.Data) == (e.Op == expr.CmpOpEq)
	case *expr.Bitwise:
		from, into := at(e.SourceRegister), at(e.DestRegister)
		for i := range e.Len {
			into[i] = from[i]&e.Mask[i] ^ e.Xor[i]
		}
	case *expr.Immediate:
		copy(at(e.Register), e.Data)
	case *expr.Numgen:
		binary.NativeEndian.PutUint32(at(e.Register), m.random(e.Modulus))
	case *expr.Fib:
		a := p.src
		if e.FlagDADDR {
			a = p.dst
		}
		kind := uint32(unix.RTN_UNICAST)
		if m.isLocal(a) {
			kind = unix.RTN_LOCAL
		}
		binary.NativeEndian.PutUint32(at(e.Register), kind)
	case *expr.Hash:
		h := fnv.New32a()
		h.Write(at(e.SourceRegister)[:e.Length])
		binary.NativeEndian.PutUint32(at(e.DestRegister), h.Sum32()%e.Modulus)
	case *nft.Original:
		if e.Key == expr.CtKeyPROTODST {
			binary.BigEndian.PutUint16(at(e.Register), p.dialed.Port())
		} else {
			copy(at(e.Register), p.dialed.Addr().AsSlice())
		}
	case *expr.Ct:
		m.ct(e, p, at(e.Register))
	case *expr.Lookup:
		v, found := m.lookup(m.sets[e.SetName], at(e.SourceRegister))
		if found && e.IsDestRegSet {
			copy(at(e.DestRegister), v)
		}
		return found != e.Invert
	case *expr.Dynset:
		return m.dynset(e, at)
	default:
		m.t.Fatalf("expression %T", e)
	}
	return true
}

func (m *machine) ct(e *expr.Ct, p *packet, register []byte) {
	var v uint32
	switch {
	case e.Key == expr.CtKeySTATE && p.established:
		v = expr.CtStateBitESTABLISHED
	case e.Key == expr.CtKeySTATE:
		v = expr.CtStateBitNEW
	case e.Key == expr.CtKeySTATUS && p.translated:
		v = nft.StatusDNAT
	}
	binary.NativeEndian.PutUint32(register, v)
}

func (m *machine) isLocal(a netip.Addr) bool {
	return a.IsLoopback() || slices.Contains(m.host.Addrs, a)
}

func (m *machine) payload(e *expr.Payload, p *packet) []byte {
	if e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 {
		return binary.BigEndian.AppendUint16(nil, p.port)
	}
	if e.Base == expr.PayloadBaseTransportHeader && e.Offset == 13 {
		if p.established {
			return []byte{0x10}
		}
		return []byte{0x02}
	}
	f := familyOf(vip.Frontend{Addr: p.dst})
	switch {
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == f.SourceOffset:
		return p.src.AsSlice()[:e.Len]
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == f.DestinationOffset:
		return p.dst.AsSlice()[:e.Len]
	}
	m.t.Fatalf("payload %+v", e)
	return nil
}

func (m *machine) meta(e *expr.Meta, p *packet, register []byte) {
	var field *uint32
	switch e.Key {
	case expr.MetaKeyMARK:
		field = &p.mark
	case expr.MetaKeyPRIORITY:
		field = &p.priority
	case expr.MetaKeyL4PROTO:
		copy(register, []byte{p.protocol, 0, 0, 0})
		return
	case expr.MetaKeyIIFNAME:
		copy(register, nft.InterfaceName(p.in))
		return
	default:
		m.t.Fatalf("meta %+v", e)
	}
	if e.SourceRegister {
		*field = binary.NativeEndian.Uint32(register)
	} else {
		binary.NativeEndian.PutUint32(register, *field)
	}
}

// lookup looks a key up, and gives the bytes of its value.
func (m *machine) lookup(s *set, register []byte) ([]byte, bool) {
	if s == nil {
		m.t.Fatal("lookup in a set that is not there")
	}
	k := register[:keySize(s)]
	switch {
	case s.Dynamic:
		c := m.clients[s.Name+string(k)]
		if c == nil || c.expires <= m.now {
			return nil, false
		}
		return c.value, true
	case s.Interval:
		return nil, m.inInterval(s, k)
	}
	v, ok := m.elements[s.Name][string(k)]
	switch {
	case !ok || s.Value == nil:
		return nil, ok
	case s.toNumber():
		return nft.Native(v.number), true
	}
	return append(v.to.Addr().AsSlice(), byte(v.to.Port()>>8), byte(v.to.Port()), 0, 0), true
}

func keySize(s *set) (size int) {
	for _, f := range s.Key {
		size += f.Padded()
	}
	return size
}

// inInterval finds the last bound that is not after a key.
func (m *machine) inInterval(s *set, k []byte) bool {
	in, last := false, []byte(nil)
	for bound := range m.elements[s.Name] {
		address, end := []byte(bound)[:len(k)], len(bound) > len(k)
		if bytes.Compare(address, k) > 0 || last != nil && bytes.Compare(address, last) < 0 {
			continue
		}
		if last == nil || !bytes.Equal(address, last) || !end { // an interval may end where another begins
			in = !end
		}
		last = address
	}
	return in
}

func (m *machine) dynset(e *expr.Dynset, at func(uint32) []byte) bool {
	k := e.SetName + string(at(e.SrcRegKey)[:keySize(m.sets[e.SetName])])
	c := m.clients[k]
	if e.Operation == dynsetDelete {
		delete(m.clients, k)
		return true
	}
	expires := m.now + uint32(e.Timeout.Seconds())
	if c != nil && c.expires > m.now {
		if e.Operation == unix.NFT_DYNSET_OP_UPDATE {
			c.expires = expires
		}
		return true // the kernel leaves the value as it is
	}
	m.clients[k] = &client{bytes.Clone(at(e.SrcRegData)[:4]), expires}
	return true
}
