package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane/ipvs"
	"github.com/signpost-dns/signpost/internal/node"
)

// prepare sets the kernel parameters: what --init-only does with all privileges. Without
// them, it checks that they are set.
func prepare(c *config.Config, log *slog.Logger) error {
	cpus, err := node.CPUs()
	if err != nil {
		cpus = runtime.NumCPU()
		log.Warn("counting CPUs failed", "err", err, "assumed", cpus)
	}
	t := c.Wire.Conntrack
	tracking := node.Tracking{
		MaxPerCore: int(*t.MaxPerCore), Min: int(*t.Min), TCPBeLiberal: t.TCPBeLiberal,
		TCPEstablished: t.TCPEstablishedTimeout.Duration, TCPCloseWait: t.TCPCloseWaitTimeout.Duration,
		UDP: t.UDPTimeout.Duration, UDPStream: t.UDPStreamTimeout.Duration,
	}
	settings := tracking.Sysctls(cpus)
	if c.NodePorts.Loopback { // otherwise the kernel drops packets from 127.0.0.0/8 to other hosts
		settings = append(settings, node.Sysctl{Key: "net/ipv4/conf/all/route_localnet", Value: 1})
	}
	changed, err := node.Apply(settings)
	for _, s := range changed {
		log.Info("kernel parameter set", "parameter", s.String())
	}
	if c.Wire.Mode == config.ModeIPVS {
		if failed := ipvs.Prepare(ipvsOptions(c, log)); failed != nil {
			err = errors.Join(err, fmt.Errorf("mode ipvs: %w", failed))
		}
	}
	return err
}

// prepareQuietly is prepare for a process that can work without it: it logs failures
// instead of returning them.
func prepareQuietly(c *config.Config, log *slog.Logger) {
	err := prepare(c, log)
	if err == nil {
		return
	}
	list := []error{err}
	if many, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		list = many.Unwrap()
	}
	for _, e := range list {
		log.Warn("kernel parameter not set; run forwarder --init-only with all privileges, or set it on the node", "err", e)
	}
}
