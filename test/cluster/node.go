package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A node is process 1 of private pid, mount, cgroup, host name and network namespaces, with a containerd and a
// kubelet below it. It is this program again, in two steps: enterNode moves it into its cgroups, runNode makes
// the node. When it is killed the kernel kills everything in it, pods and all.
const (
	enterNodeVerb = "node-enter"
	runNodeVerb   = "node-run"
)

// nodeOrder is what a node must know, handed over as JSON.
type nodeOrder struct {
	Name    string            `json:"name"`
	Place   string            `json:"place"`
	Bin     string            `json:"bin"`     // the folder of the kubelet
	Labels  string            `json:"labels"`  // of the Node
	Address string            `json:"address"` // of both families
	Cgroups map[string]string `json:"cgroups"` // options of each hierarchy's mount → the node's folder in it
}

// startNode starts a node in its network namespace.
func startNode(n *netns, p place, order nodeOrder) (*process, error) {
	b, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", enterNodeVerb, string(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	return startProcess(n, order.Name, p.log(order.Name), cmd)
}

// enterNode moves this process into the node's cgroups and makes them the roots of what it sees.
func enterNode(text string) error {
	var order nodeOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		return err
	}
	for _, folder := range order.Cgroups {
		if err := enterCgroup(folder); err != nil {
			return err
		}
	}
	// The namespace is the thread's; the program that it executes is this thread alone.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a cgroup namespace: %w", err)
	}
	return syscall.Exec("/proc/self/exe", []string{os.Args[0], runNodeVerb, text}, os.Environ())
}

// runNode makes the node and lives until it is killed.
func runNode(text string) error {
	var order nodeOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		return err
	}
	p := place(order.Place)
	if err := unix.Sethostname([]byte(order.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := mountNode(p, order); err != nil {
		return err
	}
	containerd := []string{"containerd", "--config", p.file(order.Name, "containerd.toml")}
	kubelet := []string{filepath.Join(order.Bin, "kubelet"),
		"--config=" + p.file(order.Name, "kubelet.json"),
		"--kubeconfig=" + p.file("pki", order.Name+".kubeconfig"),
		"--hostname-override=" + order.Name, "--node-ip=" + order.Address, "--node-labels=" + order.Labels,
		"--v=2",
	}
	return reap(map[string][]string{"containerd": containerd, "kubelet": kubelet})
}

// reap runs services and is the parent of every orphan of the node, as an init is. A service that ends is
// started again after a second.
func reap(services map[string][]string) error {
	names := map[int]string{}
	for name, args := range services {
		pid, err := spawnService(name, args)
		if err != nil {
			return err
		}
		names[pid] = name
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the node's processes: %w", err)
		}
		name, ok := names[pid]
		if !ok {
			continue // an orphan
		}
		fmt.Printf("%s ended: exit code %d, signal %d\n", name, status.ExitStatus(), status.Signal())
		delete(names, pid)
		time.Sleep(time.Second)
		again, err := spawnService(name, services[name])
		if err != nil {
			return err
		}
		names[again] = name
	}
}

// spawnService starts a service with its output in a file of the node's /var/log. The child is waited for by
// its number in [reap].
func spawnService(name string, args []string) (pid int, err error) {
	log, err := os.OpenFile("/var/log/"+name+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	path, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env:   append(os.Environ(), "HOME=/root"),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	return pid, nil
}
