package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Cleanup removes all that this mode has in the kernel: the companion, kube-ipvs0 with its
// addresses, and the virtual servers but those in Options.Exclude. It says in a few words what that
// was; nothing where IPVS is not in use. The settings of the kernel stay.
func Cleanup(ctx context.Context, o Options) (string, error) {
	k, err := openLink()
	if err != nil {
		return "", err
	}
	defer k.handle.Close()
	errs := []error{CleanupBeside(ctx)}
	removed, err := k.remove()
	errs = append(errs, err)
	if !removed {
		return "", errors.Join(errs...) // others' virtual servers, if there are any
	}
	n, err := retireAll(o)
	return fmt.Sprintf("interface %s, %d virtual servers", linkName, n), errors.Join(append(errs, err)...)
}

// InUse says whether this mode, or a kube-proxy's, has anything in the kernel that Cleanup would remove.
func InUse() (bool, error) {
	k, err := openLink()
	if err != nil {
		return false, err
	}
	defer k.handle.Close()
	_, err = k.handle.LinkByName(linkName)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return false, nil
	}
	return err == nil, err
}

// Frontends returns the frontends that have virtual servers in the network namespace of the calling thread, ours or
// a kube-proxy's, but those in Options.Exclude.
func Frontends(o Options) (frontends []vip.Frontend, err error) {
	there, err := InUse()
	if err != nil || !there {
		return nil, err
	}
	err = eachServer(o, func(d *Dataplane, v virtual) error {
		if v.mark == 0 {
			frontends = append(frontends, v.Frontend)
		}
		return nil
	})
	return frontends, err
}

// CleanupBeside removes only what kube-proxy does not know, so that one can run: the companion.
func CleanupBeside(context.Context) error { return eachCompanion((*companion).remove) }

// Yield leaves new connections to the rules of another mode, which must be in place. IPVS keeps those that it
// leads.
func Yield() error { return eachCompanion((*companion).yield) }

// eachCompanion does something to the companions that there are.
func eachCompanion(do func(*companion, *layout) error) error {
	c, err := openCompanion()
	if err != nil {
		return err
	}
	defer c.close()
	var errs []error
	for _, v4 := range []bool{true, false} {
		// A kernel without nf_tables, or without the family, has no table to remove.
		l := newLayout(&dataplane.Host{}, v4)
		if there, err := c.exists(l); err == nil && there {
			errs = append(errs, do(c, l))
		}
	}
	return errors.Join(errs...)
}

// retireAll removes the virtual servers that are ours.
func retireAll(o Options) (n int, err error) {
	err = eachServer(o, func(d *Dataplane, v virtual) error {
		n++
		return d.servers.retire(v)
	})
	return n, err
}

// eachServer does something to the virtual servers that are ours.
func eachServer(o Options, do func(*Dataplane, virtual) error) error {
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		return nil // no IPVS, no virtual servers
	}
	handle, err := openHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	d := &Dataplane{options: o, servers: &servers{handle: handle}, model: newModel(&dataplane.Host{}, nil)}
	list, err := d.servers.list(d.ours)
	if err != nil {
		return err
	}
	var errs []error
	for v := range list {
		errs = append(errs, do(d, v))
	}
	return errors.Join(errs...)
}

// ipsets are those of kube-proxy's mode ipvs, without what stands before them in IPv6.
var ipsets = []string{
	"LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "LOAD-BALANCER", "LOAD-BALANCER-FW", "LOAD-BALANCER-LOCAL",
	"LOAD-BALANCER-SOURCE-IP", "LOAD-BALANCER-SOURCE-CIDR", "NODE-PORT-TCP", "NODE-PORT-LOCAL-TCP", "NODE-PORT-UDP",
	"NODE-PORT-LOCAL-UDP", "NODE-PORT-SCTP-HASH", "NODE-PORT-LOCAL-SCTP-HASH", "HEALTH-CHECK-NODE-PORT", "IPVS-IPS",
}

// CleanupKubeProxy removes what kube-proxy's mode ipvs has and ours has not: its sets. The chains that use
// them are package iptables' to remove, before. It returns the names.
func CleanupKubeProxy(context.Context) ([]string, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	defer handle.Close()
	list, err := handle.IpsetListAll()
	if err != nil {
		return nil, nil // a kernel without sets
	}
	var removed []string
	var errs []error
	for _, s := range list {
		name, found := strings.CutPrefix(s.SetName, "KUBE-")
		if !found || !slices.Contains(ipsets, strings.TrimPrefix(name, "6-")) {
			continue
		}
		if err := handle.IpsetDestroy(s.SetName); err != nil {
			errs = append(errs, fmt.Errorf("remove ipset %s: %w", s.SetName, err))
			continue
		}
		removed = append(removed, s.SetName)
	}
	return removed, errors.Join(errs...)
}
