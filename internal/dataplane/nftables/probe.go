package nftables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
)

// minimumKernel is the oldest kernel that can run the rules: it answers refused
// connections before routing (reject in prerouting, 5.9) and keeps comments of tables (5.10).
const minimumKernel = "5.10"

// features is what differs between the kernels that can run the rules.
type features struct {
	families []*nft.Family // that the kernel has rules for
	persist  bool          // a table can be owned and outlive its owner
	hash     bool          // of addresses, which affinity needs
}

// Probe says whether this process can use the dataplane here, in the network
// namespace of the calling thread, and why not. It lets the kernel try the rules
// and changes nothing.
func Probe() error {
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return err
	}
	_, err = probe(c)
	return errors.Join(err, c.Close())
}

// probe rehearses the tables. One family is enough: a kernel may be without IPv6.
func probe(c *nft.Conn) (features, error) {
	var can features
	var errs []error
	for _, f := range families {
		err := rehearse(c, f, 0, oneOfEach(true))
		can.hash = err == nil
		if errors.Is(err, unix.ENOENT) { // how the kernel says that it lacks an expression
			err = rehearse(c, f, 0, oneOfEach(false))
		}
		switch {
		case err == nil:
			can.families = append(can.families, f)
		case errors.Is(err, unix.EPERM):
			return can, fmt.Errorf("try the rules of table %s %s: %w: expected the capability NET_ADMIN in this network namespace",
				f.Name, tableName, err)
		default:
			errs = append(errs, unsupported(f, err))
		}
	}
	if can.families == nil {
		return can, errors.Join(errs...)
	}
	can.persist = rehearse(c, can.families[0], nft.TableOwner|nft.TablePersist, oneOfEach(false)) == nil
	return can, nil
}

func unsupported(f *nft.Family, err error) error {
	return fmt.Errorf("try the rules of table %s %s on Linux %s: %w (%w): expected Linux %s or newer with nf_tables, NAT and reject",
		f.Name, tableName, release(), dataplane.ErrNotSupported, err, minimumKernel)
}

// rehearse lets the kernel do everything but commit: a table with every group, and
// with classes of each kind.
func rehearse(c *nft.Conn, f *nft.Family, flags uint32, m made) error {
	t, tx := newTable(c, newLayout(f, dataplane.Host{MasqueradeMark: 1}), tableName+"-probe"), c.Begin()
	tx.NewTable(t.id(), flags, title)
	if err := t.changeLayout(tx, nil, m); err != nil {
		return err
	}
	return c.Rehearse(tx)
}

// oneOfEach is what a rehearsal makes, in one transaction.
func oneOfEach(affinity bool) made {
	m := newMade()
	for _, g := range allGroups() {
		if !g.affinity {
			m.groups[g] = true
		}
	}
	for _, c := range allClasses() {
		if c.size <= 4 && (affinity || !c.affinity) {
			m.classes[c] = true
		}
	}
	for _, node := range []bool{false, true} {
		for _, bits := range []int{restricted, 24, 32} {
			m.ranges[ranges{node, bits}] = true
		}
		if affinity {
			m.groups[group{plain, node, true}], m.groups[group{localAll, node, true}] = true, true
		}
	}
	if affinity {
		m.timeouts[ladder[0]], m.timeouts[10800] = true, true
	}
	return m
}

// release is the version of the running kernel.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// inUse is the error about a table that another socket owns.
func inUse(t nft.Table, found *nft.TableInfo) error {
	return fmt.Errorf("table %v is %w: %s owns it: stop that one first; its rules stay, and are taken over as they are",
		t, dataplane.ErrInUse, socketOwner(found.Owner))
}

// explain turns the kernel's refusal to let us at a table into what is behind it.
func (d *Dataplane) explain(f *nft.Family, err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	t := ourTable(f)
	found, findErr := d.conn.FindTable(t)
	if findErr == nil && found != nil && ownedByOther(found, d.conn) {
		return inUse(t, found)
	}
	return err
}

// socketOwner names the process that has a netlink socket, as well as it can be
// found out: /proc may be that of a container.
func socketOwner(port uint32) string {
	unknown := fmt.Sprintf("a process that cannot be seen from here (netlink port %d)", port)
	text, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		return unknown
	}
	inode := ""
	for line := range strings.Lines(string(text)) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		f := strings.Fields(line)
		if len(f) >= 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == strconv.FormatUint(uint64(port), 10) {
			inode = f[9]
		}
	}
	if inode == "" {
		return unknown
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return unknown
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "socket:["+inode+"]" {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return unknown
}
