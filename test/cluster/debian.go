package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A tool is a program of this machine, a Debian, that goes into the images of the pods.
type tool struct{ command, pkg string }

// busybox has what a newcomer types in a pod: wget, nslookup, nc, vi, a shell. Debian's other one, which is
// linked statically, dies in getaddrinfo where there is no libc beside it.
var busybox = tool{"busybox", "busybox"}

// tools are what upstream's tests call in their pods. They want a shell that does not prefer its own `nc`.
var tools = []tool{
	{"bash", "bash"}, {"conntrack", "conntrack"}, {"dash", "dash"}, {"curl", "curl"}, {"dig", "bind9-dnsutils"}, {"getent", "libc-bin"},
	{"ip", "iproute2"}, {"nc.openbsd", "netcat-openbsd"}, {"ping", "iputils-ping"}, {"ss", "iproute2"}, {"wget", "wget"},
}

// find returns the paths of tools on this machine.
func find(all []tool) ([]string, error) {
	var paths, packages []string
	for _, t := range all {
		path, err := lookPath(t.command)
		if err != nil {
			packages = append(packages, t.pkg)
		}
		paths = append(paths, path)
	}
	if len(packages) > 0 {
		return nil, fmt.Errorf("the cluster's images want programs of this machine that it lacks: apt-get install %s", strings.Join(packages, " "))
	}
	return paths, nil
}

// lookPath finds a command also where only root looks.
func lookPath(command string) (string, error) {
	path, err := exec.LookPath(command)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, command))
		}
	}
	return path, err
}

// skeleton is the tree that every image with a shell begins with. As on Debian, /bin and its like are links.
func skeleton() []inode {
	all := []inode{
		{path: "tmp/", mode: 0o1777},
		textInode("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"),
		textInode("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
		textInode("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
	}
	for _, name := range []string{"dev", "etc", "home", "proc", "root", "run", "sys", "usr", "var", "var/log", "var/run"} {
		all = append(all, dirInode(name))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		all = append(all, dirInode("usr/"+name), linkInode(name, "usr/"+name))
	}
	return all
}

// busyboxFiles is busybox with its libraries and a link for each of its applets.
func busyboxFiles() ([]inode, error) {
	paths, err := find([]tool{busybox})
	if err != nil {
		return nil, err
	}
	all, err := programFiles(paths)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(paths[0], "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its applets: %w", paths[0], err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			all = append(all, linkInode("usr/bin/"+applet, "busybox"))
		}
	}
	return all, nil
}

// toolFiles is the tools with their libraries, to be laid over busybox.
func toolFiles() ([]inode, error) {
	paths, err := find(tools)
	if err != nil {
		return nil, err
	}
	all, err := programFiles(paths)
	if err != nil {
		return nil, err
	}
	return append(all, linkInode("usr/bin/sh", "dash"), linkInode("usr/bin/nc", "nc.openbsd")), nil
}

// iptablesFiles is what the iptables mode starts, of both backends, with the modules that these load.
func iptablesFiles() ([]inode, error) {
	paths, err := find([]tool{{"xtables-nft-multi", "iptables"}, {"xtables-legacy-multi", "iptables"}})
	if err != nil {
		return nil, err
	}
	all, err := programFiles(paths)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"run", "tmp", "usr", "usr/bin", "usr/lib", "usr/lib64"} {
		all = append(all, dirInode(name))
	}
	all = append(all, linkInode("lib", "usr/lib"), linkInode("lib64", "usr/lib64"))
	for _, backend := range []string{"nft", "legacy"} {
		for _, family := range []string{"iptables", "ip6tables"} {
			for _, verb := range []string{"", "-save", "-restore"} {
				all = append(all, linkInode("usr/bin/"+family+"-"+backend+verb, "xtables-"+backend+"-multi"))
			}
		}
	}
	modules, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil {
		return nil, err
	}
	for _, module := range modules {
		loaded, err := libraryFiles(module)
		if err != nil {
			return nil, err
		}
		all = append(append(all, dirInode(filepath.Dir(module)[1:]), fileInode(module[1:], module)), loaded...)
	}
	return all, nil
}

// programFiles is programs, all in /usr/bin, with what the dynamic linker loads for them.
func programFiles(paths []string) ([]inode, error) {
	var all []inode
	for _, path := range paths {
		loaded, err := libraryFiles(path)
		if err != nil {
			return nil, err
		}
		all = append(append(all, fileInode("usr/bin/"+filepath.Base(path), path)), loaded...)
	}
	return all, nil
}

// libraryFiles is what the dynamic linker loads for a program or a library.
func libraryFiles(path string) ([]inode, error) {
	paths, err := libraries(path)
	var all []inode
	for _, library := range paths {
		// The path is kept, for the linker looks there; /lib is a link in both trees.
		name := strings.TrimPrefix(library, "/")
		if strings.HasPrefix(name, "lib") {
			name = "usr/" + name
		}
		for dir := filepath.Dir(name); dir != "usr" && dir != "."; dir = filepath.Dir(dir) {
			all = append(all, dirInode(dir))
		}
		all = append(all, fileInode(name, library))
	}
	return all, err
}

// A loaded library is a path in a line of ldd(1): "libc.so.6 => /lib/… (0x…)", or the linker: "/lib64/… (0x…)".
var loaded = regexp.MustCompile(`(?m)(?:=>|^)\s*(/\S+) \(0x`)

// libraries returns the paths of the libraries of a program or of another library, and of the linker; none if it
// needs none.
func libraries(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s is no program of this machine: %w", path, err)
	}
	defer f.Close()
	if needed, err := f.ImportedLibraries(); err != nil || len(needed) == 0 {
		return nil, err
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", path, err)
	}
	var all []string
	for _, match := range loaded.FindAllStringSubmatch(string(out), -1) {
		all = append(all, match[1])
	}
	if len(all) == 0 || strings.Contains(string(out), "not found") {
		return nil, errors.New("ldd " + path + ": want the path of each library, got\n" + string(out))
	}
	return all, nil
}
