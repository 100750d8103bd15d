package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Conn is a socket to the kernel's netfilter. It belongs to the network namespace of the thread that opened it,
// whichever thread uses it. One goroutine uses it at a time. The kernel handles a request before the system call
// returns, so nothing here waits.
type Conn struct {
	// Limit is the most bytes of one transaction.
	Limit int

	fd      int
	port    uint32 // the kernel's name for the socket
	seq     uint32
	in      []byte
	out     buffer
	tx      Transaction
	commits uint32
}

const (
	// MaxTransaction is a good size for a transaction. Larger ones are slower (10,000 Services in mode nftables:
	// 0.14 s by 208 KiB, 0.16 s by 1 MiB, 0.21 s by 4 MiB), and while one is in the kernel all other programs that
	// write rules wait.
	MaxTransaction = 256 << 10
	// SendOverhead is how many bytes of the socket's buffer the kernel needs for itself.
	SendOverhead = 32
)

// Dial opens a socket in the network namespace of the calling thread. Its transactions have at most so many bytes, or
// fewer if the kernel grants no such buffer.
func Dial(most int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	c := &Conn{fd: fd, in: make([]byte, 64<<10)}
	if err := c.prepare(most); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Conn) prepare(most int) error {
	// With these options the kernel explains an error and does not return the whole request with it.
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK} {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, option, 1); err != nil {
			return fmt.Errorf("ask netlink for extended errors (expected Linux 4.12 or newer): %w", err)
		}
	}
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind the netlink socket: %w", err)
	}
	name, err := unix.Getsockname(c.fd)
	if err != nil {
		return fmt.Errorf("get the name of the netlink socket: %w", err)
	}
	c.port = name.(*unix.SockaddrNetlink).Pid
	return c.setBuffer(most)
}

// setBuffer asks for a buffer and reads how large it became. The kernel grants twice what is asked for. Without the
// capability NET_ADMIN in the first user namespace it grants no more than twice net.core.wmem_max, which is 208 KiB by
// default.
func (c *Conn) setBuffer(most int) error {
	if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, most) != nil {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, most); err != nil {
			return fmt.Errorf("set the send buffer of the netlink socket: %w", err)
		}
	}
	size, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return fmt.Errorf("get the send buffer of the netlink socket: %w", err)
	}
	c.Limit = min(size-SendOverhead, most)
	return nil
}

// FD returns the socket.
func (c *Conn) FD() int { return c.fd }

// Close closes the socket. A second call does nothing: the number of the descriptor may be that of another file by then.
func (c *Conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// Port returns the kernel's name for the socket, which is the owner of the tables that it owns.
func (c *Conn) Port() uint32 { return c.port }

// Commits returns how many transactions the kernel has committed. Each advances the Generation by one.
func (c *Conn) Commits() uint32 { return c.commits }

// answer is one message from the kernel.
type answer struct {
	kind, flags uint16
	seq         uint32
	payload     []byte // valid until the next answer is read
}

func (c *Conn) sendTo(message []byte) error {
	if err := unix.Sendto(c.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send %d bytes to netlink: %w", len(message), err)
	}
	return nil
}

// receive reads answers until there are none, or until f says stop.
func (c *Conn) receive(f func(answer) (stop bool)) error {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("read from netlink: %w", err)
		case n > len(c.in): // the kernel sends no more than 32 KiB at once
			return fmt.Errorf("read from netlink: a message of %d bytes, expected at most %d", n, len(c.in))
		}
		for b := c.in[:n]; len(b) >= messageHeader; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < messageHeader || size > len(b) {
				return fmt.Errorf("read from netlink: a message of %d bytes in %d", size, len(b))
			}
			a := answer{
				kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
				seq: binary.NativeEndian.Uint32(b[8:]), payload: b[messageHeader:size],
			}
			if f(a) {
				return nil
			}
			b = b[min(len(b), padded(size)):]
		}
	}
}

// ErrInterrupted is the error of a listing during which a program changed some rules of the host. The listing is
// complete unless it was of these rules.
var ErrInterrupted = errors.New("the rules changed while they were listed")

// get sends one request and calls f with the payload of each answer, without the header of netfilter. The payload is
// valid during the call only.
func (c *Conn) get(kind, flags uint16, family byte, request func(*buffer), f func([]byte)) error {
	c.seq++
	c.out = c.out[:0]
	at := c.out.message(kindOf(kind), unix.NLM_F_REQUEST|flags, family)
	request(&c.out)
	c.out.endMessage(at)
	binary.NativeEndian.PutUint32(c.out[8:], c.seq)
	if err := c.sendTo(c.out); err != nil {
		return err
	}
	var failed error
	done, interrupted := false, false
	err := c.receive(func(a answer) bool {
		if a.seq != c.seq {
			return false // an answer to a request that ended early
		}
		interrupted = interrupted || a.flags&unix.NLM_F_DUMP_INTR != 0
		switch a.kind {
		case unix.NLMSG_DONE:
			done = true
		case unix.NLMSG_ERROR:
			done = true
			if e := parseError(a); e != nil {
				failed = e
			}
		default:
			done = a.flags&unix.NLM_F_MULTI == 0
			if len(a.payload) >= familyHeader {
				f(a.payload[familyHeader:])
			}
		}
		return done
	})
	switch {
	case err != nil:
		return err
	case failed == nil && !done:
		return errors.New("read from netlink: the listing has no end")
	case failed == nil && interrupted:
		return ErrInterrupted
	}
	return failed
}

// list asks for objects of a table: for the table itself, for all of a kind, or for those of the set or chain with a name.
func (c *Conn) list(kind, flags uint16, table Table, name string, f func(attributes)) error {
	return c.get(kind, flags, table.Family.Number, func(b *buffer) {
		if kind != unix.NFT_MSG_GETCHAIN { // which would look up one chain
			b.string(unix.NFTA_TABLE_NAME, table.Name)
		}
		if name != "" {
			b.string(unix.NFTA_RULE_CHAIN, name) // also NFTA_SET_ELEM_LIST_SET
		}
	}, func(b []byte) { f(parse(b)) })
}

// Generation returns a number that changes with every commit to the rules of this host.
func (c *Conn) Generation() (uint32, error) {
	var g uint32
	err := c.get(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, func(*buffer) {}, func(b []byte) {
		g = uint32(number(attrOf(b, unix.NFTA_GEN_ID)))
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of the rules: %w", err)
	}
	return g, nil
}
