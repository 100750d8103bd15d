package hostile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// TestTenantPackets lets a tenant write at random, with the forwarder and a kernel, while clients connect to the Services of
// other namespaces. No connection fails, their changes take effect, no message to the kernel is longer than a stock kernel
// takes, and the log stays short. A node that boots with all of it serves them too.
func TestTenantPackets(t *testing.T) {
	netlab.Need(t)
	states(t, func(t *testing.T, d dice) {
		server := api.New(t)
		r := newRig(t, server)
		server.Put(r.infrastructure()...)
		server.Put(r.victims(0, 1)...)
		r.start()
		r.leads(youngVIP, 80, 0, 1)
		w := r.keepAsking()
		n := newTenant(d, r.town, sizes{services: 300, ports: 20, endpoints: 100, slices: 3, text: 250 << 10}, server)
		defer func() {
			if t.Failed() {
				t.Logf("the tenant did\n%s", n.story())
			}
		}()
		begin := time.Now()
		for i, steps := 0, d.between(4, 8); i < steps && !t.Failed(); i++ {
			for range d.between(1, 3) {
				n.step()
			}
			ready := i % 2
			server.Put(r.young(ready))
			r.leads(youngVIP, 80, ready)
		}
		r.judgeLog(1 + int(time.Since(begin).Minutes()))
		// A node that boots finds all of it at once.
		for _, f := range faults {
			if !strings.Contains(f.id, "flaps") {
				n.fault(f)
			}
		}
		server.Put(r.young(0))
		r.leads(youngVIP, 80, 0)
		w.excused.Store(true)
		r.run.Kill()
		if _, err := r.tool("nft", "flush", "ruleset"); err != nil {
			t.Fatal(err)
		}
		server.Put(r.young(1))
		r.start()
		for _, to := range destinations {
			r.eventually(fmt.Sprint(to, " answers"), func() error {
				_, err := r.ask(r.client, to.Addr().String(), to.Port())
				return err
			})
		}
		r.leads(youngVIP, 80, 1)
		w.excused.Store(false)
		server.Put(r.young(0))
		r.leads(youngVIP, 80, 0)
		n.clear()
		server.Put(r.young(1))
		r.leads(youngVIP, 80, 1)
		r.judgeLog(1)
		w.stop()
		t.Logf("%d connections", w.asked.Load())
	})
}

// judgeLog checks what the forwarder has logged in so many minutes.
func (r *rig) judgeLog(minutes int) {
	r.Helper()
	bytes, text := r.run.logged()
	if bytes > minutes*mostLog {
		r.Errorf("%d bytes of log in %d minutes, want at most %d a minute", bytes, minutes, mostLog)
	}
	if strings.Contains(text, "message too long") {
		r.Errorf("a message was longer than %d bytes", stockBuffer)
	}
}
