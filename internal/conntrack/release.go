package conntrack

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// HasIPVSConnections reports whether IPVS handles an established TCP connection, in the network namespace of the
// calling thread. IPVS's own counters do not show that: a connection that rules handle revives what IPVS remembers
// of an earlier one between the same two ends.
func HasIPVSConnections() (bool, error) {
	c, err := open()
	if err != nil {
		return false, err
	}
	defer c.Close()
	led := false
	for _, v6 := range []bool{false, true} {
		err = errors.Join(err, c.execute(dumpRequest(part{v6: v6, protocol: cluster.TCP}), func(message []byte) bool {
			e, ok := parse(message)
			led = led || ok && e.led && e.established
			return true
		}))
	}
	if err != nil {
		return led, fmt.Errorf("reading the tracked flows: %w", err)
	}
	return led, nil
}

// open opens ctnetlink for a single use.
func open() (*Cleaner, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("opening ctnetlink: %w", err)
	}
	return &Cleaner{socket: &nl.SocketHandle{Socket: socket}, batch: batch}, nil
}

// Release removes the UDP and TCP flows that IPVS handles, in the network namespace of the
// calling thread. Call it when rules replace IPVS and its virtual servers are removed. Rules
// see only new flows, so without Release a client that keeps sending datagrams from one port
// would lose them forever. After it, such a flow starts anew. A TCP connection then
// meets a backend that does not know it and is reset.
//
// A reply in transit recreates a flow, so Release repeats until none is left.
func Release() (removed int, err error) {
	c, err := open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for range releases {
		n, err := c.release()
		removed += n
		if n == 0 || err != nil {
			return removed, err
		}
		time.Sleep(settle)
	}
	return removed, nil
}

// releases limits the repetitions of Release.
const releases = 10

// release reads the table and removes matching flows once.
func (c *Cleaner) release() (removed int, err error) {
	for _, v6 := range []bool{false, true} {
		for _, protocol := range []cluster.Protocol{cluster.UDP, cluster.TCP} {
			for more := true; more; {
				var failed error
				var done Result
				done, more, failed = c.sweep(part{v6: v6, protocol: protocol}, func(f flow) verdict {
					if f.led {
						return removeFlow
					}
					return keepFlow
				})
				removed += done.Removed
				err = errors.Join(err, failed)
			}
		}
	}
	return removed, err
}
