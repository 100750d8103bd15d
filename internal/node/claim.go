package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// claimed is the name of a socket. The kernel keeps such names per network namespace
// and frees them when their process ends, however it ends.
const claimed = "@signpost-forwarder"

// ErrClaimed is wrapped by the error of Claim if another forwarder is at work.
var ErrClaimed = errors.New("another forwarder is at work in this network namespace")

// ending is how long Claim waits for a forwarder to be gone: one that was killed may keep the
// name for a moment after it was seen to end. It also waits so long for a holder to say who it is:
// one that starts has the name a moment before it can answer.
const ending = time.Second

// Claim makes this process the only forwarder of its network namespace until release
// is called or the process ends. Any user of the node can take the name. A holder that does not prove
// that it is a forwarder's user or root does not keep this process from working; foreign then
// says who has the name, and another forwarder is not detected.
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
		case late && peer.Pid > 0: // it is visible from here
			return nil, "", fmt.Errorf("%w (process %d): expected one on each node", ErrClaimed, peer.Pid)
		case late:
			return nil, "", fmt.Errorf("%w: expected one on each node", ErrClaimed)
		}
	}
}

// answer lets others ask who has the name, until release is called.
func answer(l net.Listener) (release func()) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			c, err := l.Accept() // it asked who we are, and knows by now
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return func() { _ = l.Close(); <-gone }
}

// holder asks who has the name. The kernel answers, with the user that called listen.
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
