package conntrack

import (
	"bytes"
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Attributes of ctnetlink that package nl does not name (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaFilter          = 25
	ctaStatusMask      = 26
	ctaFilterOrigFlags = 1
	filterProtoNum     = 1 << 3 // net/netfilter/nf_conntrack_netlink.c, CTA_FILTER_F_CTA_PROTO_NUM

	// Bits of CTA_STATUS (linux/netfilter/nf_conntrack_common.h).
	seenReply = 1 << 1
	srcNAT    = 1 << 4 // a rule changed the source of its packets
	dstNAT    = 1 << 5 // a rule changed their destination

	synSent     = 1 // TCP_CONNTRACK_SYN_SENT (linux/netfilter/nf_conntrack_tcp.h)
	established = 3 // TCP_CONNTRACK_ESTABLISHED
)

// nfgenLen is the length of struct nfgenmsg, with which every message begins.
const nfgenLen = 4

// family returns the address family of a part.
func (p part) family() uint8 {
	if p.v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// dumpRequest builds a request for the flows of a part. Kernels before 5.8 ignore the filter
// and send all flows; kernels before 5.15 do not support the filter for flows without a reply.
func dumpRequest(p part) *nl.NetlinkRequest {
	r := request(p.family(), nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, nl.Uint32Attr(filterProtoNum))
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	proto := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{byte(p.protocol)})
	r.AddData(filter)
	r.AddData(tuple)
	if p.unanswered {
		r.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(0)))
		r.AddData(nl.NewRtAttr(ctaStatusMask, nl.BEUint32Attr(seenReply)))
	}
	return r
}

// deleteRequest builds a request to remove one flow. The kernel compares the ID, so it keeps
// a newer flow between the same two ends.
func deleteRequest(family uint8, e entry) *nl.NetlinkRequest {
	r := request(family, nl.IPCTNL_MSG_CT_DELETE, 0)
	r.AddData(nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, e.tuple))
	if e.id != nil {
		r.AddData(nl.NewRtAttr(nl.CTA_ID, e.id))
	}
	return r
}

// shortenRequest builds a request to remove one flow after silence. Each packet gives the flow its whole timeout again.
// The reply's tuple names the backend, so a newer flow of the same client to another backend keeps its timeout.
func shortenRequest(family uint8, e entry) *nl.NetlinkRequest {
	r := request(family, nl.IPCTNL_MSG_CT_NEW, 0)
	r.AddData(nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_REPLY, e.reply))
	r.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(silence)))
	return r
}

func request(family uint8, operation, flags int) *nl.NetlinkRequest {
	const subsystem = 1 // NFNL_SUBSYS_CTNETLINK
	r := nl.NewNetlinkRequest(subsystem<<8|operation, flags)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return r
}

// entry is a flow as the kernel sent it, with what identifies it in a request.
type entry struct {
	flow
	tuple, reply, id []byte // slices of the message
}

// clone returns the entry with memory of its own.
func (e entry) clone() entry {
	e.tuple, e.reply, e.id = bytes.Clone(e.tuple), bytes.Clone(e.reply), bytes.Clone(e.id)
	return e
}

// parse decodes a flow. ok is false if the flow is neither UDP nor TCP over IP, is in a
// conntrack zone (flows of Services are in none), or is malformed.
func parse(message []byte) (e entry, ok bool) {
	if len(message) < nfgenLen {
		return e, false
	}
	var there, back tuple
	var status uint32
	var state byte // TCP state
	for kind, value := range attributes(message[nfgenLen:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			e.tuple, there = value, parseTuple(value)
		case nl.CTA_TUPLE_REPLY:
			e.reply, back = value, parseTuple(value)
		case nl.CTA_ID:
			e.id = value
		case nl.CTA_STATUS:
			if len(value) == 4 {
				status = binary.BigEndian.Uint32(value)
			}
		case nl.CTA_PROTOINFO:
			state = tcpState(value)
		case nl.CTA_TIMEOUT:
			if len(value) == 4 {
				e.left = binary.BigEndian.Uint32(value)
			}
		case nl.CTA_ZONE:
			return e, false
		}
	}
	e.dialled = netip.AddrPortFrom(there.dst, there.dstPort)
	e.answerer = netip.AddrPortFrom(back.src, back.srcPort)
	e.protocol = cluster.Protocol(there.protocol)
	e.answered = status&seenReply != 0
	// A flow that IPVS handles may begin with a reply, if its earlier entry was removed.
	forth := status&dstNAT == 0 && e.answerer != e.dialled
	e.led = forth || status&srcNAT == 0 && (back.dst != there.src || back.dstPort != there.srcPort)
	e.established = state == established
	e.halfOpen = state == synSent && !e.answered
	return e, isTracked(e.protocol) && e.dialled.IsValid() && e.answerer.IsValid()
}

// tcpState returns the state of a connection from CTA_PROTOINFO, or 0 if there is none.
func tcpState(b []byte) byte {
	for kind, group := range attributes(b) {
		for inner, value := range attributes(group) {
			if kind == nl.CTA_PROTOINFO_TCP && inner == nl.CTA_PROTOINFO_TCP_STATE && len(value) == 1 {
				return value[0]
			}
		}
	}
	return 0
}

// tuple describes one direction of a flow.
type tuple struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	protocol         uint8
}

func parseTuple(b []byte) (t tuple) {
	for kind, group := range attributes(b) {
		for inner, value := range attributes(group) {
			switch {
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_SRC || inner == nl.CTA_IP_V6_SRC):
				t.src, _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_DST || inner == nl.CTA_IP_V6_DST):
				t.dst, _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_NUM && len(value) == 1:
				t.protocol = value[0]
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_SRC_PORT && len(value) == 2:
				t.srcPort = binary.BigEndian.Uint16(value)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_DST_PORT && len(value) == 2:
				t.dstPort = binary.BigEndian.Uint16(value)
			}
		}
	}
	return t
}

// attributes yields the netlink attributes in b up to the first malformed one.
func attributes(b []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			length := int(nl.NativeEndian().Uint16(b))
			kind := int(nl.NativeEndian().Uint16(b[2:]) & nl.NLA_TYPE_MASK)
			if length < unix.SizeofRtAttr || length > len(b) || !yield(kind, b[unix.SizeofRtAttr:length]) {
				return
			}
			b = b[min(len(b), (length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
		}
	}
}
