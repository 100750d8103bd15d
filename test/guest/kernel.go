package guest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// kernelPackage depends on Debian's newest kernel of the release: 6.1 in Debian 12.
	kernelPackage = "linux-image-cloud-amd64"
	// kernelEnv names a folder with an unpacked kernel package, for machines that do not fetch one.
	kernelEnv = "SIGNPOST_KERNEL"
)

// A Kernel is an unpacked kernel package: an image to boot, and modules.
type Kernel struct {
	Image   string
	modules map[string]string // files by module name
}

// Find returns the kernel: the one in SIGNPOST_KERNEL, or the one in the user's cache, or,
// fetched now with apt-get into that cache, the distribution's.
func Find(ctx context.Context) (*Kernel, error) {
	if dir := os.Getenv(kernelEnv); dir != "" {
		return open(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a kernel for the guest: %w", err)
	}
	parent := filepath.Join(cache, "signpost", "kernel")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("find a kernel for the guest: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(parent, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("find a kernel for the guest: %w", err)
	}
	defer lock.Close() // and so unlock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	dir := filepath.Join(parent, kernelPackage)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := fetch(ctx, parent, dir); err != nil {
			return nil, fmt.Errorf("fetch a kernel for the guest (or name a folder with an unpacked one in %s): %w", kernelEnv, err)
		}
	}
	return open(dir)
}

// fetch unpacks the kernel package into dir. Its folder gets that name as the last step.
func fetch(ctx context.Context, parent, dir string) error {
	scratch, err := os.MkdirTemp(parent, "fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	depends, err := command(ctx, scratch, "apt-cache", "depends", "--important", kernelPackage)
	if err != nil {
		return err
	}
	_, name, found := strings.Cut(depends, "Depends: ")
	if !found {
		return fmt.Errorf("apt-cache depends %s names no kernel: %q", kernelPackage, depends)
	}
	if _, err := command(ctx, scratch, "apt-get", "download", "-q", strings.Fields(name)[0]); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages, expected one: %w", len(debs), err)
	}
	if _, err := command(ctx, scratch, "dpkg-deb", "-x", debs[0], "unpacked"); err != nil {
		return err
	}
	return os.Rename(filepath.Join(scratch, "unpacked"), dir)
}

// command runs a program and returns what it prints.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// open reads what is in an unpacked package.
func open(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("open the kernel in %s: %d files boot/vmlinuz-*, expected one", dir, len(images))
	}
	k := &Kernel{Image: images[0], modules: map[string]string{}}
	err = filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			k.modules[canonical(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the kernel in %s: %w", dir, err)
	}
	return k, nil
}

// canonical makes the two ways to spell a module's name one.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Version is the kernel's release, as uname has it.
func (k *Kernel) Version() string { return strings.TrimPrefix(filepath.Base(k.Image), "vmlinuz-") }

// closure returns the files of the modules and of what they depend on, each after
// what it needs. A name that has no file is an error: a built-in needs no naming.
func (k *Kernel) closure(names []string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = canonical(name)
		if seen[name] {
			return nil
		}
		seen[name] = true
		file, ok := k.modules[name]
		if !ok {
			return fmt.Errorf("kernel %s has no module %s", k.Version(), name)
		}
		needs, err := depends(file)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return fmt.Errorf("%w, which %s needs", err, name)
			}
		}
		files = append(files, file)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// onDemand lists for each name by which the kernel may ask for one of the modules which files it takes, each
// after what it needs; and all these files.
func (k *Kernel) onDemand(names []string) (lines, files []string, err error) {
	all, err := k.closure(names)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range all {
		name := strings.TrimSuffix(filepath.Base(file), ".ko")
		needs, err := k.closure([]string{name})
		if err != nil {
			return nil, nil, err
		}
		aliases, err := records(file, "alias")
		if err != nil {
			return nil, nil, err
		}
		for _, n := range append(aliases, name) {
			line := canonical(n)
			for _, f := range needs {
				line += " " + filepath.Base(f)
			}
			lines = append(lines, line)
		}
	}
	return lines, all, nil
}

// depends reads the names of the modules that a module needs.
func depends(file string) ([]string, error) {
	lists, err := records(file, "depends")
	return slices.DeleteFunc(strings.Split(strings.Join(lists, ","), ","), func(s string) bool { return s == "" }), err
}

// records reads what a module says about itself under a name (section .modinfo).
func records(file, name string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module %s: it has no section .modinfo", file)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	var values []string
	for record := range strings.SplitSeq(string(data), "\x00") {
		if value, ok := strings.CutPrefix(record, name+"="); ok {
			values = append(values, value)
		}
	}
	return values, nil
}
