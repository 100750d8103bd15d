package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// claimed is the name of an abstract socket. The kernel keeps such names per network namespace
// and frees them when their process ends, however it ends.
const claimed = "@signpost-forwarder"

// ErrClaimed is wrapped by the error of Claim if another forwarder runs.
var ErrClaimed = errors.New("another forwarder runs in this network namespace")

// ending is how long Claim waits for the holder of the name to end or to identify itself. A
// killed process may keep the name for a moment after it ends, and a starting one has the
// name a moment before it can answer.
const ending = time.Second

// Claim makes this process the only forwarder of its network namespace until release
// is called or the process ends. Any user of the node can take the name, so a holder that is neither
// root nor the forwarder's user does not stop this process. foreign then describes the holder,
// and another forwarder is not detected.
func Claim() (release func(), foreign string, err error) {
	for begin := time.Now(); ; time.Sleep(ending / 50) {
		l, err := net.Listen("unix", claimed)
		if err == nil {
			return answer(l), "", nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, "", fmt.Errorf("taking the name %s for this network namespace: %w", claimed, err)
		}
		peer, err := holder()
		switch late := time.Since(begin) > ending; {
		case err != nil && late:
			return func() {}, fmt.Sprintf("a socket that does not answer (%v)", err), nil
		case err != nil:
		case peer.Uid != uint32(os.Geteuid()) && peer.Uid != 0:
			return func() {}, fmt.Sprintf("process %d of user %d", peer.Pid, peer.Uid), nil
		case late && peer.Pid > 0: // the process is visible in this PID namespace
			return nil, "", fmt.Errorf("%w: got process %d, want one forwarder per node", ErrClaimed, peer.Pid)
		case late:
			return nil, "", fmt.Errorf("%w: want one forwarder per node", ErrClaimed)
		}
	}
}

// answer accepts connections of processes that ask who holds the name, until release is called.
func answer(l net.Listener) (release func()) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			c, err := l.Accept() // the kernel has identified us to the client by now
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return func() { _ = l.Close(); <-gone }
}

// Trust returns an error if the process at the other end of a TCP connection inside this machine runs neither as root
// nor as this process's user: any user can serve on a free port. The other end must have answered, and the connection
// must be open.
func Trust(c net.Conn) error {
	s, err := netlink.SocketGet(c.RemoteAddr(), c.LocalAddr())
	if err != nil {
		return fmt.Errorf("find the process that serves %v: %w", c.RemoteAddr(), err)
	}
	return trusted(s, uint32(os.Geteuid()))
}

// established is TCP_ESTABLISHED. A socket without a process has user 0 and no inode.
const established = 1

func trusted(s *netlink.Socket, us uint32) error {
	if s.State != established || s.INode == 0 {
		return errors.New("find the process that serves a port: it has closed the connection")
	}
	if s.UID != 0 && s.UID != us {
		return fmt.Errorf("check the process that serves port %d: got user %d, want root or user %d", s.ID.SourcePort, s.UID, us)
	}
	return nil
}

// holder connects to the name and returns the credentials of the process that called listen, from the kernel.
func holder() (*unix.Ucred, error) {
	c, err := net.Dial("unix", claimed)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(err, asked)
}
