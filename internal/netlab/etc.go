//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Resolver is what a host's /etc/resolv.conf says (resolv.conf(5)).
type Resolver struct {
	Nameservers []netip.Addr
	Search      []string
	Options     []string // such as "ndots:5"
}

// String is the text of /etc/resolv.conf.
func (r Resolver) String() string {
	var b strings.Builder
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	for _, server := range r.Nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	}
	return b.String()
}

// ownEtc gives the calling thread, which must be in a mount namespace of its own, its own /etc/resolv.conf (empty at
// first), /etc/hosts, /etc/hostname and /etc/nsswitch.conf. The files live in memory.
func ownEtc(hostname, hosts string) error {
	files := map[string]string{"resolv.conf": "", "hosts": hosts, "hostname": hostname + "\n"}
	if text, err := os.ReadFile("/etc/nsswitch.conf"); err == nil {
		files["nsswitch.conf"] = hostsByDNS(string(text))
	}
	err := inTmpfs(func(dir string) error {
		missing := false
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return err
			}
			missing = missing || name != "hostname" && !exists("/etc/"+name)
		}
		if missing {
			return shadowEtc(dir, files)
		}
		for name := range files {
			err := bind(filepath.Join(dir, name), "/etc/"+name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a machine may do without /etc/hostname
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give the host its own /etc: %w", err)
	}
	return maskNSCD()
}

// shadowEtc is for a machine where one of the files is missing or a dangling symbolic link, so that nothing can be
// mounted on it: the whole of /etc becomes a directory of links to the machine's files, with ours in place.
func shadowEtc(dir string, files map[string]string) error {
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	real := filepath.Join(dir, ".machine")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(real, 0o755), bind("/etc", real)); err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, ours := files[name]; ours {
			continue
		}
		target := filepath.Join("/etc/.machine", name)
		if link, err := os.Readlink(filepath.Join("/etc", name)); err == nil {
			target = link // relative links stay right: the new directory is at the same place
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return unix.Mount(dir, "/etc", "", unix.MS_BIND|unix.MS_REC, "")
}

// hostsByDNS rewrites nsswitch.conf(5) so that names come from /etc/hosts and DNS only. Modules such as resolve and
// mdns would ask a daemon of the machine through a unix socket, which no network namespace keeps apart.
func hostsByDNS(nsswitch string) string {
	var b strings.Builder
	for line := range strings.Lines(nsswitch) {
		if strings.HasPrefix(strings.TrimSpace(line), "hosts:") {
			line = "hosts: files dns\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// maskNSCD hides the socket of the machine's name service cache, which glibc asks before anything else.
func maskNSCD() error {
	const dir = "/var/run/nscd"
	if !exists(dir) {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=4k"); err != nil {
		return fmt.Errorf("hide %s: %w", dir, err)
	}
	return nil
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return &fs.PathError{Op: "bind mount on", Path: to, Err: err}
	}
	return nil
}

// inTmpfs calls f with an empty directory in memory. What f binds elsewhere stays when the directory is gone. The calling
// thread's mount namespace must be private.
func inTmpfs(f func(dir string) error) error {
	dir := ""
	for _, candidate := range []string{"/tmp", "/run", "/mnt"} {
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			dir = candidate
			break
		}
	}
	if dir == "" {
		return errors.New("no directory to mount a tmpfs on: expected one of /tmp, /run, /mnt")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,mode=755"); err != nil {
		return &fs.PathError{Op: "mount tmpfs on", Path: dir, Err: err}
	}
	return errors.Join(f(dir), unix.Unmount(dir, unix.MNT_DETACH))
}
