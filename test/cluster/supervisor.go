package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// superviseVerb starts the supervisor: the parent of everything that the cluster runs. It is process 1 of a
// pid namespace, so when it ends, for whatever reason, the kernel kills all of them; network namespaces and
// mounts have no names outside and go with their processes. Only cgroups and files are left, and the state
// file says which.
const superviseVerb = "supervise"

// Files that the supervisor is handed over.
const (
	lockFD  = 3 // the lock of the place, held as long as it lives
	readyFD = 4 // a pipe: it writes "ready", or why not
)

// order is what the supervisor must know, handed over as JSON.
type order struct {
	Place      string   `json:"place"`
	Bin        string   `json:"bin"`        // the folder of the programs of Kubernetes
	CoreDNS    string   `json:"coredns"`    // the program that plays the world's DNS
	CNIPlugins string   `json:"cniPlugins"` // their folder
	Images     []string `json:"images"`     // archives
	Nodes      []string `json:"nodes"`      // their names
	Folders    []folder `json:"folders"`    // the cluster's own cgroups
}

// folder is a cgroup of the cluster, below which each node has one.
type folder struct {
	Options string `json:"options"`
	Path    string `json:"path"`
}

// supervisor holds what runs.
type supervisor struct {
	order  order
	place  place
	ca     *authority
	images *registry

	outside *netns
	control *netns

	mu        sync.Mutex
	services  []service
	processes map[string]*process // by the names of services and nodes
	networks  map[string]*netns   // of nodes
}

// supervise runs the cluster until it is killed.
func supervise(text string) error {
	ready := os.NewFile(readyFD, "ready")
	unix.CloseOnExec(lockFD)
	unix.CloseOnExec(readyFD)
	s := &supervisor{images: newRegistry(), processes: map[string]*process{}, networks: map[string]*netns{}}
	err := json.Unmarshal([]byte(text), &s.order)
	if err == nil {
		err = s.start()
	}
	if err != nil {
		fmt.Fprintln(ready, err)
		return err
	}
	fmt.Fprintln(ready, "ready")
	ready.Close()
	select {}
}

// start brings everything up that needs no kubectl.
func (s *supervisor) start() error {
	s.place = place(s.order.Place)
	nodeNames = s.order.Nodes
	// Into the cluster's cgroups first, and with us all that we start: who empties them has ended everything.
	for _, f := range s.order.Folders {
		if err := enterCgroup(f.Path); err != nil {
			return err
		}
	}
	// Mounts of ours must not be seen outside, and /proc must show our own pid namespace.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	var err error
	if s.ca, err = s.place.writeCredentials(); err != nil {
		return err
	}
	if s.outside, err = newSwitch(); err != nil {
		return err
	}
	if s.control, err = s.outside.join(control); err != nil {
		return err
	}
	s.services = s.place.controlPlane(s.order.Bin)
	for _, c := range s.services[:2] { // etcd and the API server
		if err := s.startNamed(c.name); err != nil {
			return err
		}
	}
	if err := s.serveImages(); err != nil {
		return err
	}
	if err := s.startUpstream(); err != nil {
		return err
	}
	if err := s.relay(); err != nil {
		return err
	}
	if err := s.waitForAPI(30 * time.Second); err != nil {
		return err
	}
	for _, c := range s.services[2:] {
		if err := s.startNamed(c.name); err != nil {
			return err
		}
	}
	for _, n := range nodes() {
		if err := s.startNamed(n.name); err != nil {
			return err
		}
	}
	return s.serveControl()
}

// startNamed starts a service of the control plane or a node, unless it runs.
func (s *supervisor) startNamed(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.processes[name]; p != nil && p.running() {
		return nil
	}
	p, err := s.make(name)
	if err != nil {
		return err
	}
	s.processes[name] = p
	return nil
}

func (s *supervisor) make(name string) (*process, error) {
	for _, c := range s.services {
		if c.name == name {
			return startProcess(s.control, name, s.place.log(name), exec.Command(c.program, c.args...))
		}
	}
	m, ok := nodeNamed(name)
	if !ok {
		return nil, fmt.Errorf("nothing here is called %q", name)
	}
	if err := s.place.writeNode(m, s.order.CNIPlugins); err != nil {
		return nil, err
	}
	if old := s.networks[name]; old != nil {
		old.close()
	}
	network, err := s.outside.join(m)
	if err != nil {
		return nil, err
	}
	s.networks[name] = network
	cgroups := map[string]string{}
	for _, f := range s.order.Folders {
		cgroups[f.Options] = filepath.Join(f.Path, name)
		if err := emptyCgroup(cgroups[f.Options]); err != nil { // of the same node before
			return nil, err
		}
		if err := makeCgroup(hierarchy{options: f.Options}, cgroups[f.Options]); err != nil {
			return nil, err
		}
	}
	return startNode(network, s.place, nodeOrder{
		Name: name, Place: string(s.place), Bin: s.order.Bin, Cgroups: cgroups,
		Address: m.v4.String() + "," + m.v6.String(),
		Labels:  "topology.kubernetes.io/zone=zone-" + name,
	})
}

// stopNamed kills a service or a node.
func (s *supervisor) stopNamed(name string) error {
	s.mu.Lock()
	p := s.processes[name]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("nothing here is called %q", name)
	}
	p.kill()
	return nil
}

// serveImages runs the registry.
func (s *supervisor) serveImages() error {
	for _, archive := range s.order.Images {
		if _, err := s.images.add(archive); err != nil {
			return err
		}
	}
	return s.outside.do(func() error {
		l, err := net.Listen("tcp", netip.AddrPortFrom(outside.v4, registryPort).String())
		if err != nil {
			return fmt.Errorf("serve the images: %w", err)
		}
		go http.Serve(l, s.images) //nolint:errcheck // it ends with the supervisor
		return nil
	})
}

// The DNS of the world outside, to which the cluster's forwards: a root zone with one name in it. Of any other
// it says that there is none, as the real one would.
const (
	worldCorefile = `. {
    bind %s
    errors
    file %s
}
`
	worldZone = `$ORIGIN .
@ 60 IN SOA ns.example.org. admin.example.org. 1 60 60 60 60
@ 60 IN NS ns.example.org.
ns.example.org. 60 IN A 172.30.0.1
www.example.org. 60 IN A 172.30.0.1
www.example.org. 60 IN AAAA fd00:30::1
`
)

// startUpstream runs that DNS.
func (s *supervisor) startUpstream() error {
	file, zone := s.place.file("world.Corefile"), s.place.file("world.zone")
	if err := os.WriteFile(zone, []byte(worldZone), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, worldCorefile, outside.v4, zone), 0o644); err != nil {
		return err
	}
	p, err := startProcess(s.outside, "world-dns", s.place.log("world-dns"), exec.Command(s.order.CoreDNS, "-conf", file))
	if err != nil {
		return err
	}
	s.processes["world-dns"] = p
	return nil
}

// waitForAPI waits until the API server says that it is ready.
func (s *supervisor) waitForAPI(limit time.Duration) error {
	client := s.client()
	defer client.CloseIdleConnections()
	var last error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, name := range []string{"etcd", "kube-apiserver"} {
			if p := s.processes[name]; !p.running() {
				return p.ended()
			}
		}
		answer, err := client.Get(apiURL() + "/readyz")
		if err != nil {
			last = err
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		last = errors.New(answer.Status)
	}
	return fmt.Errorf("the API server is not ready after %v: %w, the end of its log:\n%s", limit, last, tailOf(s.place.log("kube-apiserver")))
}
