//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// runPod is what runs in a pod instead of its image: a server that tells its name and whom it sees, over HTTP and UDP on
// every given address. It ends when told to.
//
//	pod NAME ADDRESS:PORT…
func runPod(ctx context.Context, args []string, env environment) int {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	if len(args) < 1 {
		fmt.Fprintln(env.stderr, "usage: pod NAME ADDRESS:PORT…")
		return exitUsage
	}
	var listen []netip.AddrPort
	for _, arg := range args[1:] {
		addr, err := netip.ParseAddrPort(arg)
		if err != nil {
			fmt.Fprintln(env.stderr, "pod:", err)
			return exitUsage
		}
		listen = append(listen, addr)
	}
	server, err := netlab.Echo(args[0], listen...)
	if err != nil {
		fmt.Fprintln(env.stderr, "pod:", err)
		return exitFailed
	}
	defer server.Close()
	<-ctx.Done()
	return 0
}
