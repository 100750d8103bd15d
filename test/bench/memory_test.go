package bench

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

// loads are clusters of many objects of one kind.
var loads = []struct {
	name    string
	n       int
	objects func(n int) []k8sruntime.Object
}{
	{"service", 10_000, services},
	{"endpoint", 50_000, func(n int) []k8sruntime.Object { return crowd("crowd", n) }},
}

// BenchmarkMemory is what stays on the heap for each object once the plugin is
// synced. Each is measured in a process of its own, because what an earlier one
// leaves goes when it likes.
func BenchmarkMemory(b *testing.B) {
	for _, load := range loads {
		for _, plugin := range plugins {
			b.Run(load.name+"/plugin="+plugin, func(b *testing.B) {
				cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryOfOne$", "-test.v")
				cmd.Env = append(os.Environ(), memoryOf+"="+load.name+" "+plugin)
				out, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %v\n%s", cmd, err, out)
				}
				grown, err := strconv.ParseFloat(string(regexp.MustCompile(`grown by (\d+)`).FindSubmatch(out)[1]), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(grown/float64(load.n), "B/"+load.name)
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

const memoryOf = "SIGNPOST_MEMORY_OF"

// TestMemoryOfOne is the process of one measurement.
func TestMemoryOfOne(t *testing.T) {
	for _, load := range loads {
		for _, plugin := range plugins {
			if os.Getenv(memoryOf) != load.name+" "+plugin {
				continue
			}
			s := api.New(t)
			s.Put(load.objects(load.n)...)
			before := heap()
			peer.Start(t, plugin, s.URL, "startup_timeout 60s", "")
			fmt.Printf("grown by %d\n", heap()-before)
			runtime.KeepAlive(s)
		}
	}
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
