package iptables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// newestErr carries from the process that may use the network to the one in the sandbox why Debian's newest
// programs could not be fetched.
const newestErr = "SIGNPOST_NEWEST_ERROR"

// newestAge is how old the fetched programs may be.
const newestAge = 7 * 24 * time.Hour

// newestDir is the folder of the fetched programs. Its path must not contain the word iptables: Tools.of replaces the
// first one.
func newestDir() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "signpost", "newest"), err
}

// fetchNewest fetches the programs unless they are there.
func fetchNewest() {
	dir, err := newestDir()
	if err == nil {
		err = fetchInto(dir)
	}
	if err != nil {
		err = errors.Join(err, os.Setenv(newestErr, err.Error()))
		fmt.Fprintln(os.Stderr, "Debian's newest iptables is not to be had:", err)
	}
}

// newest returns the programs that Debian's unstable distribution has. They run with the libraries of that distribution.
func newest(t testing.TB) Tools {
	t.Helper()
	if testing.Short() {
		t.Skip("with -short, Debian's newest iptables is not fetched")
	}
	dir, err := newestDir()
	if err == nil && os.Getenv(newestErr) != "" {
		err = errors.New(os.Getenv(newestErr))
	}
	if err != nil {
		netlab.Skip(t, "Debian's newest iptables cannot be fetched: "+err.Error())
	}
	bin := filepath.Join(dir, "bin")
	tools := Tools{filepath.Join(bin, "iptables-nft"), filepath.Join(bin, "iptables-nft-save"), filepath.Join(bin, "iptables-nft-restore")}
	version, err := run(t.Context(), nil, tools.Iptables, "-V")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", version)
	return tools
}

// fetchInto fetches and unpacks the package and all that it depends on. Nothing is installed, and the machine's own
// package lists stay as they are. The folder gets its name as the last step.
func fetchInto(dir string) error {
	if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) < newestAge {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	debs, err := download(scratch)
	if err != nil {
		return err
	}
	root := filepath.Join(scratch, "unpacked")
	for _, deb := range debs {
		if _, err := run(context.Background(), nil, "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	if err := wrap(root, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(root, dir)
}

// download has apt fetch the packages into a folder with lists and a state of its own, and returns their files.
func download(scratch string) ([]string, error) {
	repository, err := debian()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(scratch, d), 0o755); err != nil {
			return nil, err
		}
	}
	conf := fmt.Sprintf("Dir::State::status %q;\nDir::State::lists %q;\nDir::Cache %q;\nDir::Etc::sourcelist %q;\n"+
		"Dir::Etc::sourceparts \"-\";\nAPT::Install-Recommends \"false\";\nAPT::Sandbox::User \"\";\n",
		filepath.Join(scratch, "status"), filepath.Join(scratch, "lists"), filepath.Join(scratch, "cache"), filepath.Join(scratch, "sources.list"))
	for name, text := range map[string]string{
		"status": "", "conf": conf,
		"sources.list": "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + repository + " sid main\n",
	} {
		if err := os.WriteFile(filepath.Join(scratch, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{{"-q", "update"}, {"-q", "-y", "--download-only", "install", "iptables"}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(scratch, "conf"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
	}
	return filepath.Glob(filepath.Join(scratch, "cache", "archives", "*.deb"))
}

// debian returns the address of the repository that this machine gets its own packages from.
func debian() (string, error) {
	out, err := run(context.Background(), nil, "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if uri, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian "); ok {
			return uri, nil
		}
	}
	return "", fmt.Errorf("find a repository of Debian: got %q, want one with the label Debian", out)
}

// wrap writes the scripts that start the programs of root with its loader and libraries, once it is moved to dir.
func wrap(root, dir string) error {
	find := func(pattern string) (string, error) {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("find %s in the packages: got %q, want one: %w", pattern, found, fs.ErrNotExist)
		}
		if err != nil {
			return "", err
		}
		return dir + strings.TrimPrefix(found[0], root), nil
	}
	loader, err := find("usr/lib/*/ld-linux-*.so.*")
	if err != nil {
		return err
	}
	extensions, err := find("usr/lib/*/xtables")
	if err != nil {
		return err
	}
	program, err := find("usr/sbin/xtables-nft-multi")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			script := fmt.Sprintf("#!/bin/sh\nXTABLES_LIBDIR=%s exec %s --library-path %s %s %s%s \"$@\"\n",
				extensions, loader, filepath.Dir(extensions), program, family, suffix)
			if err := os.WriteFile(filepath.Join(root, "bin", family+"-nft"+suffix), []byte(script), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}
