package conntrack

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Led reports whether a TCP connection is established that IPVS leads, in the network namespace of the calling
// thread. IPVS's own counts do not tell: a connection that rules lead stirs up what IPVS remembers of an
// earlier one between the same two ends.
func Led() (bool, error) {
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

// open opens ctnetlink for one look.
func open() (*Cleaner, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("opening ctnetlink: %w", err)
	}
	return &Cleaner{socket: &nl.SocketHandle{Socket: socket}, batch: batch}, nil
}

// Release removes the flows of UDP and TCP that IPVS leads, in the network namespace of the
// calling thread. It is for when rules do IPVS's work from now on and its virtual
// servers go: rules see only what begins, so a client that keeps sending datagrams from one port
// would reach nobody any more, for ever. Without its flow it begins anew. A TCP connection
// then meets a backend that does not know it, and hears so at once.
//
// An answer on its way makes a flow again, so it looks until there is none.
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

// releases is how often Release looks at most.
const releases = 10

// release looks once.
func (c *Cleaner) release() (removed int, err error) {
	for _, v6 := range []bool{false, true} {
		for _, protocol := range []cluster.Protocol{cluster.UDP, cluster.TCP} {
			for more := true; more; {
				var n int
				var failed error
				n, more, failed = c.removeFrom(part{v6: v6, protocol: protocol}, func(f flow) bool { return f.led })
				removed += n
				err = errors.Join(err, failed)
			}
		}
	}
	return removed, err
}
