package nft

import (
	"fmt"
	"reflect"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Original is an address or port of the first packet of a connection, before translation. The library does not write
// the direction "original", so it is written and compared here.
type Original struct{ expr.Ct }

// Numbers of NFTA_CT_KEY: the destination address by family, which nft needs to list it.
const (
	ctDestination4 expr.CtKey = 20 // NFT_CT_DST_IP
	ctDestination6 expr.CtKey = 22 // NFT_CT_DST_IP6
)

// OriginalDestination is the address that the client of a connection chose.
func (f *Family) OriginalDestination() Field {
	key := ctDestination4
	if f == IPv6 {
		key = ctDestination6
	}
	return originalField(f.Addr, "ct original "+f.Name+" daddr", key)
}

// OriginalPort is the port that the client of a connection chose.
func OriginalPort() Field {
	return originalField(TypePort, "ct original proto-dst", expr.CtKeyPROTODST)
}

func originalField(t Type, text string, key expr.CtKey) Field {
	return Field{t, text, func(register uint32) []expr.Any {
		return []expr.Any{&Original{expr.Ct{Key: key, Register: register}}}
	}, nil}
}

func (o *Original) encode() buffer {
	var b buffer
	b.string(unix.NFTA_EXPR_NAME, "ct")
	at := b.nest(unix.NFTA_EXPR_DATA)
	b.uint32(unix.NFTA_CT_KEY, uint32(o.Key))
	b.uint32(unix.NFTA_CT_DREG, o.Register)
	b.attr(unix.NFTA_CT_DIRECTION, 0)
	b.end(at)
	return b
}

// is compares with what the kernel lists.
func (o *Original) is(data []byte) bool {
	direction := attrOf(data, unix.NFTA_CT_DIRECTION)
	return number(attrOf(data, unix.NFTA_CT_KEY)) == uint64(o.Key) && number(attrOf(data, unix.NFTA_CT_DREG)) == uint64(o.Register) &&
		len(direction) == 1 && direction[0] == 0
}

func (f *Family) marshalAll(exprs []expr.Any) (buffer, error) {
	var list buffer
	for _, e := range exprs {
		content, err := f.marshal(e)
		if err != nil {
			return nil, fmt.Errorf("marshal %T: %w", e, err)
		}
		list.attr(nested|unix.NFTA_LIST_ELEM, content...)
	}
	return list, nil
}

func (f *Family) marshal(e expr.Any) ([]byte, error) {
	if o, ok := e.(*Original); ok {
		return o.encode(), nil
	}
	return expr.Marshal(f.Number, e)
}

// SameRule compares the expressions of a rule that the kernel lists with those that it should have, by their meaning:
// the kernel lists attributes that were not sent, and not all that were.
func (f *Family) SameRule(found []byte, want Statement) bool {
	i := 0
	for _, e := range attrs(found) {
		if i >= len(want.Exprs) || !f.sameExpr(e, want.Exprs[i]) {
			return false
		}
		i++
	}
	return i == len(want.Exprs)
}

func (f *Family) sameExpr(found []byte, want expr.Any) bool {
	ours, err := f.marshal(want)
	if err != nil || text(attrOf(found, unix.NFTA_EXPR_NAME)) != text(attrOf(ours, unix.NFTA_EXPR_NAME)) {
		return false
	}
	if o, ok := want.(*Original); ok {
		return o.is(attrOf(found, unix.NFTA_EXPR_DATA))
	}
	fresh := func() expr.Any { return reflect.New(reflect.TypeOf(want).Elem()).Interface().(expr.Any) }
	a, b := fresh(), fresh()
	return expr.Unmarshal(f.Number, attrOf(found, unix.NFTA_EXPR_DATA), a) == nil &&
		expr.Unmarshal(f.Number, attrOf(ours, unix.NFTA_EXPR_DATA), b) == nil && reflect.DeepEqual(a, b)
}
