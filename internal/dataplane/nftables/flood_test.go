package nftables

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// TestInventedSourcesLeaveNothing sends what an attacker can send from invented addresses: a SYN, the
// same SYN after the backend has answered, and resets. Real clients of that Service port, and of another one, are
// remembered.
func TestInventedSourcesLeaveNothing(t *testing.T) {
	l := newLab(t, 4)
	sticky := func(port uint16, seconds uint32) netip.AddrPort {
		r := l.route(vip.Frontend{Addr: vip.AnyNode4, Port: port, Protocol: cluster.TCP}, vip.NodePort, l.pods[:3]...)
		r.Affinity = seconds
		if err := applyAll(l.d, l.table.Set(r.Owner.Service, []*vip.Route{r})); err != nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(l.node.IPv4, port)
	}
	flooded, other := sticky(30009, 86400), sticky(30010, 10800)
	count := func(s *set) (n int) {
		t.Helper()
		err := l.node.Do(func() (err error) {
			n, err = findSetElements(l.d.conn, l.d.tables[0].id(), s, func(key, value) {})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, flags := range []byte{tcpSYN, tcpSYN, tcpRST, tcpRST | tcpACK} {
		if err := l.Outside.Do(func() error { return sendInvented(3000, flooded, flags) }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // for the answers
	}
	if n := count(l.d.tables[0].proven); n != 0 {
		t.Errorf("%d clients are remembered that were invented, want none", n)
	}
	if n := count(l.d.tables[0].begun); n == 0 || n > begunPlaces {
		t.Errorf("%d places are taken for seconds, want some and at most %d: did the packets arrive?", n, begunPlaces)
	}
	for _, to := range []netip.AddrPort{flooded, other} {
		first := ""
		for range 10 {
			reply, err := l.ask(l.pods[3], "tcp", to)
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = reply.Server
			} else if reply.Server != first {
				t.Fatalf("%v is answered by %s, had %s", to, reply.Server, first)
			}
		}
	}
	if n := count(l.d.tables[0].proven); n != 2 {
		t.Errorf("%d clients are remembered, want the real one at both Service ports", n)
	}
}

// Flags of TCP.
const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// sendInvented sends a segment from each of so many addresses.
func sendInvented(n int, to netip.AddrPort, flags byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range n {
		from := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		packet := append([]byte{0x45, 8: 64, 9: unix.IPPROTO_TCP, 19: 0}, make([]byte, 20)...)
		copy(packet[12:], from.AsSlice())
		copy(packet[16:], to.Addr().AsSlice())
		segment := packet[20:]
		binary.BigEndian.PutUint16(segment, 40_000)
		binary.BigEndian.PutUint16(segment[2:], to.Port())
		binary.BigEndian.PutUint32(segment[4:], 1000)
		if flags != tcpSYN {
			binary.BigEndian.PutUint32(segment[4:], 1001)
		}
		segment[12], segment[13], segment[14] = 5<<4, flags, 0xff
		binary.BigEndian.PutUint16(segment[16:], checksum(packet[12:20], segment))
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
			return err
		}
	}
	return nil
}

// checksum is that of a TCP segment between two addresses.
func checksum(addresses, segment []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP + len(segment))
	for _, b := range [][]byte{addresses, segment} {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// BenchmarkAffinityFlow is what a new connection costs in the rules, to a frontend with affinity and to one without, where as many
// Services have a timeout each.
func BenchmarkAffinityFlow(b *testing.B) {
	for _, to := range []string{"plain", "sticky"} {
		for _, timeouts := range []int{0, 1, 600} {
			if to == "sticky" && timeouts == 0 {
				continue
			}
			b.Run(to+"/timeouts="+strconv.FormatUint(uint64(uint32(timeouts)), 10), func(b *testing.B) {
				l := newLab(b, 1)
				var at []unix.SockaddrInet4
				for i := range 1000 {
					r := testRoute(i, 5)
					r.Protocol = cluster.UDP
					for n := range r.Cluster { // a discarding pod
						r.Cluster[n].AddrPort = netip.AddrPortFrom(l.pods[0].IPv4, 10_000+uint16(n))
					}
					if to == "sticky" {
						r.Affinity = 10800
					}
					l.table.Set(r.Owner.Service, []*vip.Route{r})
					at = append(at, unix.SockaddrInet4{Addr: r.Addr.As4(), Port: 80})
				}
				for i := range timeouts {
					r := testRoute(10_000+i, 5)
					r.Affinity = uint32(1 + 144*i)
					l.table.Set(r.Owner.Service, []*vip.Route{r})
				}
				if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
					b.Fatal(err)
				}
				if err := l.node.Do(func() error { return sendFlows(b, at) }); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkEstablished sends bytes to and fro over a connection of a pod to a frontend without affinity,
// where no other has affinity and where some have.
func BenchmarkEstablished(b *testing.B) {
	for _, others := range []int{0, 600} {
		b.Run("timeouts="+strconv.FormatUint(uint64(uint32(others)), 10), func(b *testing.B) {
			l := newLab(b, 2)
			listener, err := l.pods[0].Listen(":9000")
			if err != nil {
				b.Fatal(err)
			}
			defer listener.Close()
			go func() {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				for one := make([]byte, 1); ; {
					if _, err := c.Read(one); err != nil {
						return
					}
					if _, err := c.Write(one); err != nil {
						return
					}
				}
			}()
			r := testRoute(0, 1)
			r.Cluster[0].AddrPort = netip.AddrPortFrom(l.pods[0].IPv4, 9000)
			l.table.Set(r.Owner.Service, []*vip.Route{r})
			for i := range others {
				s := testRoute(10_000+i, 5)
				s.Affinity = uint32(1 + 144*i)
				l.table.Set(s.Owner.Service, []*vip.Route{s})
			}
			if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
				b.Fatal(err)
			}
			c, err := l.pods[1].Dial(context.Background(), "tcp", netip.AddrPortFrom(r.Addr, 80))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			one := make([]byte, 1)
			for b.Loop() {
				if _, err := c.Write(one); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(one); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
