package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/peer"
)

// A server is measured in a process of its own, while the API that feeds it stays
// in that of the benchmark: then memory and processor time are the server's alone.
// The child takes one command per line: `wait NAME` until NAME has an address;
// it answers with a usage, and after that begins to look for a new peak.
const childEnv = "SIGNPOST_BENCH_CHILD" // plugin, URL of the API, options

// usage is what a child says of itself, in bytes.
type usage struct {
	Ready    time.Duration // from the start of the server to the first answer; 0 for later commands
	CPU      time.Duration // in that time
	Empty    int64         // live heap before the server started
	Live     int64         // live heap now, after a collection
	PeakHeap int64         // most that the heap held at a time, garbage included
	RSS      int64         // resident now, after what is free went back to the system
	PeakRSS  int64         // most that was resident
}

func runChild(arguments string) error {
	args := strings.SplitN(arguments, " ", 3)
	if len(args) != 3 {
		return fmt.Errorf("%s=%q: want plugin, URL and options", childEnv, arguments)
	}
	u := usage{Empty: heap()}
	peak := watchHeap()
	begin, used := time.Now(), cpu()
	side, stop, err := peer.Serve(args[0], args[1], strings.ReplaceAll(args[2], ";", "\n"), "")
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		command, name, _ := strings.Cut(in.Text(), " ")
		if command != "wait" {
			return fmt.Errorf("command %q: want wait NAME", in.Text())
		}
		waitFor(side, name)
		if u.Ready == 0 {
			u.Ready, u.CPU = time.Since(begin), cpu()-used
		}
		u.PeakRSS, u.PeakHeap = statusBytes("VmHWM"), peak.take()
		u.Live = heap()
		debug.FreeOSMemory()
		u.RSS = statusBytes("VmRSS")
		if err := json.NewEncoder(os.Stdout).Encode(u); err != nil {
			return err
		}
		peak.take()
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // VmHWM starts anew
	}
	return stop()
}

// waitFor asks until the name has an address.
func waitFor(side peer.Side, name string) {
	r := new(dns.Msg)
	r.SetQuestion(name, dns.TypeA)
	for {
		rec := dnstest.NewRecorder(&test.ResponseWriter{})
		if _, _ = side.Handler.ServeDNS(context.Background(), rec, r); rec.Msg != nil && len(rec.Msg.Answer) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// statusBytes reads a field of /proc/self/status.
func statusBytes(field string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return statusField(string(text), field)
}

// statusField is a size in the text of proc_pid_status(5), in bytes; 0 if it is not there.
func statusField(text, field string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// heap returns the bytes in use once collections find nothing more: goroutines
// end in their own time.
func heap() int64 {
	var m runtime.MemStats
	for last := uint64(0); ; last = m.HeapAlloc {
		time.Sleep(200 * time.Millisecond)
		runtime.GC()
		if runtime.ReadMemStats(&m); last != 0 && m.HeapAlloc+m.HeapAlloc/1000 >= last {
			return int64(m.HeapAlloc)
		}
	}
}

// heapPeak samples how many bytes the objects of the heap take, dead ones included.
type heapPeak struct{ asked, answer chan int64 }

func watchHeap() heapPeak {
	p := heapPeak{make(chan int64), make(chan int64)}
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		most := int64(0)
		for {
			metrics.Read(sample)
			most = max(most, int64(sample[0].Value.Uint64()))
			select {
			case <-p.asked:
				p.answer <- most
				most = 0
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return p
}

// take returns the peak since the last take.
func (p heapPeak) take() int64 {
	p.asked <- 0
	return <-p.answer
}

// child is a running one, seen from the benchmark.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a server of the plugin on the API; it ends with the benchmark.
// Options are those of the stanza, parted by semicolons.
func startChild(b *testing.B, plugin, url, options string) *child {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+plugin+" "+url+" startup_timeout 120s;"+options)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err = errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c := &child{cmd, in, bufio.NewReader(out)}
	b.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the server with %s: %v", plugin, err)
		}
	})
	return c
}

// wait lets the child wait until the name has an address, and returns its usage.
func (c *child) wait(b *testing.B, name string) usage {
	b.Helper()
	if _, err := fmt.Fprintln(c.in, "wait", name); err != nil {
		b.Fatal(err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		b.Fatalf("waiting for %s: %v", name, err)
	}
	var u usage
	if err := json.Unmarshal(line, &u); err != nil {
		b.Fatalf("the child says %q: %v", line, err)
	}
	return u
}
