package forwarder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// A side is one of the two proxies at work: a node with it, two pods that can serve, one
// that dials, and the API.
type side struct {
	testing.TB
	name, binary string
	api          *api.Server
	node         *netlab.Node
	client       *netlab.Host
	pods         [2]*netlab.Host
	relay        *api.Relay
	process      *netlab.Process
	log          *journal
	began        time.Time // when the process was started
}

// journal keeps the end of what a process says.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.text.Len() > 1<<20 {
		j.text.Reset()
	}
	return j.text.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// newSide makes a node whose proxy is not yet started.
func newSide(tb testing.TB, name, binary string, objects []runtime.Object) *side {
	tb.Helper()
	s := &side{TB: tb, name: name, binary: binary, api: api.New(tb), log: &journal{}}
	lab := netlab.New(tb, netlab.Config{Nodes: 1, IPv4Only: true})
	s.node = lab.Node(1)
	pod := func(name string) *netlab.Host {
		h, err := s.node.AddPod(name)
		if err != nil {
			tb.Fatal(err)
		}
		return h
	}
	s.client = pod("client")
	for i := range s.pods {
		s.pods[i] = pod(fmt.Sprintf("p%d", i))
		s.banner(s.pods[i], byte('0'+i))
	}
	s.api.Put(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.node.Name},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{s.node.PodCIDR4.String()}, PodCIDR: s.node.PodCIDR4.String()},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: s.node.IPv4.String()}}},
	})
	s.api.Put(objects...)
	s.relay = api.NewRelay(tb, s.listen(s.node.Host, "127.0.0.1:0"), s.api.URL)
	return s
}

// listen listens in a host.
func (s *side) listen(h *netlab.Host, at string) net.Listener {
	s.Helper()
	l, err := h.Listen(at)
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// banner lets a pod say its name to whoever connects.
func (s *side) banner(h *netlab.Host, name byte) {
	s.Helper()
	l := s.listen(h, netip.AddrPortFrom(h.IPv4, targetPort).String())
	s.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{name})
			go func() {
				_, _ = io.Copy(io.Discard, conn) // the client hangs up
				conn.Close()
			}()
		}
	}()
}

// begin starts the proxy.
func (s *side) begin() {
	s.Helper()
	args := []string{
		"--master=" + s.relay.URL, "--hostname-override=" + s.node.Name, "--cluster-cidr=10.244.0.0/16", "--proxy-mode=" + *mode,
		"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
	}
	cmd := exec.Command(s.binary, args...)
	s.log = &journal{}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	s.began = time.Now()
	var err error
	if s.process, err = s.node.Start(cmd); err != nil {
		s.Fatal(err)
	}
	p := s.process
	s.Cleanup(func() {
		p.Kill()
		if s.Failed() {
			s.Logf("%s:\n%s", s.name, s.log)
		}
	})
}

// dial tells which pod answers at a VIP, '0' or '1', or 0 for none.
func (s *side) dial(to netip.AddrPort) byte { return s.dialWithin(200*time.Millisecond, to) }

func (s *side) dialWithin(limit time.Duration, to netip.AddrPort) byte {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := s.client.Dial(ctx, "tcp", to)
	if err != nil {
		return 0
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0) // leaves no port behind
	_ = conn.SetDeadline(time.Now().Add(limit))
	var name [1]byte
	if _, err := io.ReadFull(conn, name[:]); err != nil {
		return 0
	}
	return name[0]
}

func judgedAt(service int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(vip(service)), port)
}

// patience is how long anything may take.
const patience = 45 * time.Minute

// until dials a judged Service until the pod answers, and returns when it did.
func (s *side) until(service, pod int) time.Time {
	s.Helper()
	to, seldom := judgedAt(service), 5*time.Millisecond
	if s.name == theirs && *mode == ipvs {
		seldom = time.Second // in an emulated machine a look is dear
	}
	for begin := time.Now(); ; {
		if s.dial(to) == byte('0'+pod) {
			return time.Now()
		}
		waited := time.Since(begin)
		if waited > patience {
			s.Fatalf("%s: pod %d does not answer for Service %d after %v", s.name, pod, service, patience)
		}
		select {
		case <-s.process.Done():
			s.Fatalf("%s has ended:\n%s", s.name, s.log)
		case <-time.After(min(waited/20, seldom)): // it costs the proxy processor time
		}
	}
}

// lead has the endpoints of a judged Service be one of the pods.
func (s *side) lead(pod int, services ...int) {
	var objects []runtime.Object
	for _, n := range services {
		objects = append(objects, endpoints(judgedName(n), s.pods[pod].IPv4.String()))
	}
	s.api.Put(objects...)
}

// cpu is what the proxy and the programs that it called used of the processors, in
// seconds (proc_pid_stat(5): utime, stime, cutime, cstime).
func (s *side) cpu() float64 {
	s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Pid()))
	if err != nil {
		s.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			s.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / 100
}

// memory is a field of /proc/PID/status in MiB: VmRSS, VmHWM.
func (s *side) memory(field string) float64 {
	s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid()))
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	s.Fatalf("no %s in %s", field, text)
	return 0
}

// lastPid is the number that the last process or thread of this sandbox got (proc_loadavg(5)): each
// gets the next one.
func (s *side) lastPid() int {
	s.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) != 5 {
		s.Fatalf("/proc/loadavg: %q, %v", text, err)
	}
	n, err := strconv.Atoi(fields[4])
	if err != nil {
		s.Fatal(err)
	}
	return n
}
