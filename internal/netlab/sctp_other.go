//go:build !linux

package netlab

import (
	"errors"
	"net"
	"net/netip"
)

// HasSCTP reports whether the kernel has SCTP sockets.
func HasSCTP() bool { return false }

func listenSCTP(netip.AddrPort) (net.Listener, error) { return nil, errors.ErrUnsupported }
