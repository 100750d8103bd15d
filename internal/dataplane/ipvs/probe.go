package ipvs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	moby "github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// instead ends errors about what the kernel lacks.
const instead = "the modes nftables and iptables need none of this"

// openHandle opens the socket to IPVS. Asked for it, the kernel loads the module with the program modprobe of
// the node. The library calls that of the container too, and logs that there is none: the error says it.
func openHandle() (*moby.Handle, error) {
	_, _ = netlink.GenlFamilyGet("IPVS")
	logrus.SetOutput(io.Discard)
	handle, err := moby.New("")
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to IPVS: %w", err)
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		handle.Close()
		return nil, fmt.Errorf("%w: it has no module ip_vs (modprobe ip_vs): %s", dataplane.ErrNotSupported, instead)
	}
	return handle, nil
}

// Probe says whether this process can use the dataplane here, in the network namespace of
// the calling thread, and why not. It changes nothing that stays.
func Probe(o Options) error {
	d, err := Open(o)
	if err != nil {
		return err
	}
	return errors.Join(d.probe(), d.Close())
}

func (d *Dataplane) probe() error {
	if err := d.hasScheduler(d.options.Scheduler); err != nil {
		return fmt.Errorf("%w: %s", err, instead)
	}
	if err := d.probeLink(); err != nil {
		return fmt.Errorf("%w: %s", err, instead)
	}
	return d.companion.probe(newLayout(&dataplane.Host{MasqueradeMark: 1}, true))
}

// probeLink makes an interface of the kind of kube-ipvs0, unless that is there, and removes it.
func (d *Dataplane) probeLink() error {
	if _, err := d.link.handle.LinkByName(linkName); err == nil {
		return nil
	}
	trial := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "signpost-probe"}}
	err := d.link.handle.LinkAdd(trial)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: it has no module dummy (modprobe dummy)", dataplane.ErrNotSupported)
	}
	if err != nil {
		return fmt.Errorf("make an interface of type dummy: %w", err)
	}
	return d.link.handle.LinkDel(trial)
}

// trialMark names a virtual server that no packet finds: our marks have more bits.
const trialMark = markTag

// hasScheduler lets the kernel try a scheduler.
func (d *Dataplane) hasScheduler(name string) error {
	v := virtual{mark: trialMark, v4: true}
	s := v.service(settings{scheduler: name})
	err := d.servers.handle.NewService(s)
	if errors.Is(err, unix.EEXIST) {
		err = d.servers.handle.UpdateService(s)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("scheduler %s: %w: it has no module ip_vs_%s (modprobe ip_vs_%[1]s)", name, dataplane.ErrNotSupported, name)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("make a virtual server: %w: expected the capability NET_ADMIN outside of user namespaces", err)
	case err != nil:
		return fmt.Errorf("make a virtual server with scheduler %s: %w", name, err)
	}
	return d.servers.handle.DelService(s)
}

// scheduler is the one that a Service gets: the one that it asks for, if the kernel has it.
func (d *Dataplane) scheduler(wanted string) string {
	if wanted == "" || wanted == d.options.Scheduler {
		return d.options.Scheduler
	}
	has, asked := d.known[wanted]
	if !asked {
		err := d.hasScheduler(wanted)
		if has = err == nil; !has {
			d.log.Warn("a Service asks for a scheduler that the kernel does not have", "instead", d.options.Scheduler, "error", err)
		}
		d.known[wanted] = has
	}
	if has {
		return wanted
	}
	return d.options.Scheduler
}

// sysctls are the kernel's settings that the mode needs.
var sysctls = [][2]string{
	{"net/ipv4/vs/conntrack", "1"},                 // so that what IPVS translates can be masqueraded
	{"net/ipv4/vs/expire_nodest_conn", "1"},        // a flow to a backend that is gone begins anew
	{"net/ipv4/vs/expire_quiescent_template", "1"}, // a client does not stay with a backend that goes
}

// strictSysctls keep other interfaces from answering for the addresses on kube-ipvs0.
var strictSysctls = [][2]string{{"net/ipv4/conf/all/arp_ignore", "1"}, {"net/ipv4/conf/all/arp_announce", "2"}}

// Prepare loads the module and sets the kernel's settings, for a process that later may not.
func Prepare(o Options) error {
	handle, err := openHandle()
	if err != nil {
		return err
	}
	handle.Close()
	return setSysctls(o)
}

func setSysctls(o Options) error {
	list := sysctls
	if o.StrictARP {
		list = append(list[:len(list):len(list)], strictSysctls...)
	}
	for _, s := range list {
		if err := setSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// setUp prepares the kernel: settings, timeouts and the interface.
func (d *Dataplane) setUp() error {
	if err := setSysctls(d.options); err != nil {
		return err
	}
	o := d.options
	if o.TCPTimeout != 0 || o.TCPFinTimeout != 0 || o.UDPTimeout != 0 {
		err := d.servers.handle.SetConfig(&moby.Config{TimeoutTCP: o.TCPTimeout, TimeoutTCPFin: o.TCPFinTimeout, TimeoutUDP: o.UDPTimeout})
		if err != nil {
			return fmt.Errorf("set the timeouts of IPVS: %w", err)
		}
	}
	return d.link.ensure(d.v6)
}

// setSysctl sets a setting of the network namespace, unless it is as it should be.
func setSysctl(name, value string) error {
	file := filepath.Join("/proc/sys", name)
	if now, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(now)) == value {
		return nil
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w: the mode ipvs needs it (a container may do so only if it is privileged)",
			strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}
