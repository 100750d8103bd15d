package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// conn is a socket to the kernel's netfilter. It belongs to the network namespace
// of the thread that opened it, whoever uses it. The kernel works off a request
// before the system call returns, so nothing here waits.
type conn struct {
	socket  *netlink.Conn
	raw     syscall.RawConn
	port    uint32 // the kernel's name for the socket: the owner of a table
	limit   int    // the most bytes of one transaction
	seq     uint32
	in      []byte
	out     buffer
	tx      transaction
	commits uint32 // how many there were
}

const (
	// maxTransaction is the most bytes of one transaction. Larger ones are slower (10,000
	// Services: 0.14 s by 208 KiB, 0.16 s by 1 MiB, 0.21 s by 4 MiB), and while one is
	// in the kernel all other programs that write rules wait.
	maxTransaction = 256 << 10
	// sendOverhead is what the kernel wants to be left of the buffer.
	sendOverhead = 32
)

func dial() (*conn, error) {
	socket, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	c := &conn{socket: socket, in: make([]byte, 64<<10)}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return c, nil
}

func (c *conn) prepare() error {
	// The kernel says what it objects to, and does not send the whole request back with it.
	for _, option := range []netlink.ConnOption{netlink.ExtendedAcknowledge, netlink.CapAcknowledge} {
		if err := c.socket.SetOption(option, true); err != nil {
			return fmt.Errorf("ask netlink for extended errors (expected Linux 4.12 or newer): %w", err)
		}
	}
	var err error
	if c.raw, err = c.socket.SyscallConn(); err != nil {
		return fmt.Errorf("get the netlink socket: %w", err)
	}
	return c.control(func(fd int) error {
		name, err := unix.Getsockname(fd)
		if err != nil {
			return fmt.Errorf("get the name of the netlink socket: %w", err)
		}
		c.port = name.(*unix.SockaddrNetlink).Pid
		return c.setBuffer(fd)
	})
}

// setBuffer asks for room for a transaction, and finds out how much there is. The
// kernel grants twice what is asked for. Without the capability NET_ADMIN in the first user
// namespace it grants no more than twice net.core.wmem_max, which is 208 KiB by default.
func (c *conn) setBuffer(fd int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, maxTransaction) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, maxTransaction); err != nil {
			return fmt.Errorf("set the send buffer of the netlink socket: %w", err)
		}
	}
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return fmt.Errorf("get the send buffer of the netlink socket: %w", err)
	}
	c.limit = min(size-sendOverhead, maxTransaction)
	return nil
}

func (c *conn) control(f func(fd int) error) error {
	var err error
	if outer := c.raw.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return fmt.Errorf("use the netlink socket: %w", outer)
	}
	return err
}

func (c *conn) close() error { return c.socket.Close() }

// answer is one message from the kernel.
type answer struct {
	kind, flags uint16
	seq         uint32
	payload     []byte // valid until the next answer is read
}

// receive reads answers until there are none, or until f says stop.
func (c *conn) receive(fd int, f func(answer) (stop bool)) error {
	for {
		n, _, err := unix.Recvfrom(fd, c.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
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
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// nft is the kind of an nf_tables message.
func nft(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// errInterrupted says that some rules of the host, maybe not ours, changed during a
// listing, which is complete nevertheless unless it was ours.
var errInterrupted = errors.New("the rules changed while they were listed")

// get sends one request and calls f with the payload of each answer, without the
// header of netfilter. The payload is valid during the call only.
func (c *conn) get(kind, flags uint16, family byte, request func(*buffer), f func([]byte)) error {
	c.seq++
	c.out = c.out[:0]
	at := c.out.message(nft(kind), unix.NLM_F_REQUEST|flags, family)
	if request != nil {
		request(&c.out)
	}
	c.out.endMessage(at)
	binary.NativeEndian.PutUint32(c.out[8:], c.seq)
	return c.control(func(fd int) error {
		if err := unix.Sendto(fd, c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("send to netlink: %w", err)
		}
		return c.listing(fd, f)
	})
}

func (c *conn) listing(fd int, f func([]byte)) error {
	var failed error
	done, interrupted := false, false
	err := c.receive(fd, func(a answer) bool {
		if a.seq != c.seq {
			return false // left over from a request that ended early
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
		return errInterrupted
	}
	return failed
}
