package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// found describes this machine's kernel state for a frontend, and its mode.
type found struct {
	mode  dataplane.Mode
	lines []string
}

// inspect reads this machine's kernel state for the frontend of a packet. It returns nil if no
// proxy runs here or the rights are missing, because explain works on any machine.
func inspect(ctx context.Context, v *view, x *vip.Explanation) *found {
	if !node.ReadFacts().NetAdmin {
		return nil
	}
	for _, m := range modes(v.config, v.log, nil) {
		lines, err := m.Inspect(ctx, v.host, v.table, frontendOf(x))
		if errors.Is(err, dataplane.ErrNoRules) {
			continue
		}
		if err != nil {
			lines = []string{err.Error()}
		}
		return &found{m, lines}
	}
	return nil
}

// frontendOf returns the frontend that a packet meets, or would meet.
func frontendOf(x *vip.Explanation) vip.Frontend {
	if x.Route != nil {
		return x.Route.Frontend
	}
	return vip.Frontend{Addr: x.Destination.Addr(), Port: x.Destination.Port(), Protocol: x.Protocol}
}

// readBack formats the kernel state, the tracked flows of the frontend, and whether the
// backends answer.
func (k *found) readBack(ctx context.Context, v *view, x *vip.Explanation) string {
	text := "kernel " + strings.Join(k.lines, "\nkernel ") + "\n"
	flows, err := conntrack.Find(frontendOf(x), v.host.NodePortAddrs)
	if err != nil {
		return text + "conntrack " + err.Error() + "\n"
	}
	for _, t := range flows {
		text += fmt.Sprintf("conntrack %d flows lead to %v", t.Flows, t.To)
		if t.HalfOpen > 0 {
			text += fmt.Sprintf(", %d of them without an answer", t.HalfOpen)
		}
		if x.Route != nil && !slices.ContainsFunc(x.Route.Reachable(), func(b vip.Backend) bool { return b.AddrPort == t.To }) {
			text += "; it is no endpoint for new ones"
		}
		text += "\n"
	}
	return text + reachable(ctx, x)
}

// isHere reports whether the view is of this machine, which has the node's address.
func (v *view) isHere() bool {
	machine, err := node.NewMachine()
	return err == nil && meets(v.node.Addrs, machine.Addrs())
}

// reachableTimeout limits the wait for a backend, and mostAsked the number of backends that are
// asked.
const (
	reachableTimeout = time.Second
	mostAsked        = 100
)

// reachable connects to the backends of a packet. That works for TCP only.
func reachable(ctx context.Context, x *vip.Explanation) string {
	if x.Protocol != cluster.TCP {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, reachableTimeout)
	defer cancel()
	lines := make([]string, min(len(x.Answers), mostAsked))
	var all sync.WaitGroup
	for i := range lines {
		all.Go(func() {
			lines[i] = fmt.Sprintf("backend %v %s\n", x.Answers[i].AddrPort, answers(ctx, x.Answers[i].AddrPort))
		})
	}
	all.Wait()
	return strings.Join(lines, "")
}

func answers(ctx context.Context, to netip.AddrPort) string {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.String())
	switch {
	case err == nil:
		conn.Close()
		return "answers this node"
	case errors.Is(err, unix.ECONNREFUSED):
		return "refuses: nothing listens there"
	case errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil:
		return fmt.Sprintf("does not answer within %v", reachableTimeout)
	}
	return "cannot be reached: " + err.Error()
}
