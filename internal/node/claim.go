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
// name for a moment after it was seen to end.
const ending = time.Second

// Claim makes this process the only forwarder of its network namespace until release
// is called or the process ends.
func Claim() (release func(), err error) {
	for begin := time.Now(); ; time.Sleep(ending / 50) {
		release, err = claim()
		if !errors.Is(err, ErrClaimed) || time.Since(begin) > ending {
			return release, err
		}
	}
}

func claim() (release func(), err error) {
	l, err := net.Listen("unix", claimed)
	if errors.Is(err, unix.EADDRINUSE) {
		if who, ours := holder(); ours {
			return nil, fmt.Errorf("%w%s: expected one on each node", ErrClaimed, who)
		}
		// Anybody may take the name. Who is not of our kind is not taken for one of us.
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("taking the name %s for this network namespace: %w", claimed, err)
	}
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
	return func() { _ = l.Close(); <-gone }, nil
}

// holder tells who has the name, for a message, and whether it is one with our
// rights. One that does not answer counts as such: it is busy.
func holder() (who string, ours bool) {
	c, err := net.Dial("unix", claimed)
	if err != nil {
		return "", true
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "", true
	}
	var peer *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || asked != nil {
		return "", true
	}
	if peer.Pid > 0 { // it is visible from here
		who = fmt.Sprintf(" (process %d)", peer.Pid)
	}
	return who, peer.Uid == uint32(os.Geteuid()) || peer.Uid == 0
}
