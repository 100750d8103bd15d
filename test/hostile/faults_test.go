package hostile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// TestFaultLoop has accidents happen to a forwarder, at random, while a tenant writes and clients dial the Services of others.
// These are served all the time, except after rules that no forwarder owns were removed. In the end packets find the rules of a
// fresh node, after one more start all rules are those, and the process has no more goroutines and files than a fresh one.
func TestFaultLoop(t *testing.T) {
	netlab.Need(t)
	need(t, "nft", "iptables-nft-restore")
	states(t, func(t *testing.T, d dice) {
		l := newLoop(t, d)
		for i, steps := 0, d.between(6, 10); i < steps && !t.Failed(); i++ {
			a := pick(d, accidents...)
			if a.mode != "" && a.mode != l.mode {
				continue
			}
			l.tenant.say("%s", a.name)
			a.do(l)
			if d.chance(30) {
				l.leads(youngVIP, 80, l.ready)
			}
		}
		l.leads(youngVIP, 80, l.ready)
		l.compare()
	})
}

// A loop is a node with accidents.
type loop struct {
	*rig
	dice
	tenant *tenant
	watch  *watch
	ready  int // the pod that serves young
}

func newLoop(t *testing.T, d dice) *loop {
	server := api.New(t)
	l := &loop{rig: newRig(t, server), dice: d}
	server.Put(l.infrastructure()...)
	server.Put(l.victims(0, 1)...)
	server.Put(l.young(0))
	l.tenant = newTenant(d, l.town, sizes{services: 20, ports: 5, endpoints: 20, slices: 0, text: 1000}, server)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what happened:\n%s", l.tenant.story())
		}
	})
	l.start()
	l.leads(youngVIP, 80, l.ready)
	l.watch = l.keepAsking()
	return l
}

// change has the tenant write, and the Service young led to another pod.
func (l *loop) change() {
	for range l.IntN(3) {
		l.tenant.step()
	}
	l.ready = 1 - l.ready
	l.tenant.say("young is led to pod-%d", l.ready)
	l.api.Put(l.young(l.ready))
}

// again starts a forwarder in place of one that has ended.
func (l *loop) again() {
	l.Helper()
	select {
	case <-l.run.Done():
		l.start()
	default:
		l.Fatal("the forwarder has not ended")
	}
}

// excused does what may cost packets, and waits until clients are served again.
func (l *loop) excused(do func()) {
	l.Helper()
	l.watch.excused.Store(true)
	do()
	for _, to := range destinations {
		l.eventually(fmt.Sprint(to, " answers"), func() error {
			_, err := l.ask(l.client, to.Addr().String(), to.Port())
			return err
		})
	}
	l.watch.excused.Store(false)
}

// must runs a tool in the node.
func (l *loop) must(name string, args ...string) string {
	l.Helper()
	out, err := l.tool(name, args...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

// compare holds the node against a fresh one.
func (l *loop) compare() {
	l.Helper()
	l.watch.stop()
	fresh := newRig(l.T, l.api)
	fresh.configure(l.mode)
	fresh.start()
	l.same(fresh, "the rules are those of a fresh node")
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		l.eventually(name+" is as in a fresh process", func() error {
			is, want := l.number(l.rig, name), l.number(fresh, name)
			if is > want+slack {
				return fmt.Errorf("%v, in a fresh process %v", is, want)
			}
			return nil
		})
	}
	l.run.Kill()
	l.again()
	all := l.same(fresh, "the rules are those of a fresh node after one more start")
	l.Logf("%d connections, mode %s, %d lines of rules", l.watch.asked.Load(), l.mode, strings.Count(all, "\n"))
}

// same waits until both nodes have the same rules, and returns these.
func (l *loop) same(fresh *rig, what string) (got string) {
	l.Helper()
	l.eventually(what, func() error {
		want, err := fresh.rules()
		if err != nil {
			return err
		}
		if !strings.Contains(want, youngVIP) {
			return errors.New("the fresh node has no rules yet")
		}
		if got, err = l.rules(); err != nil {
			return err
		}
		if got != want && l.number(l.rig, "signpost_service_cidrs_not_enforced") > 0 {
			// An endpoint was in the range in the last ten minutes, which the fresh node did not see.
			l.api.Put(l.endpointInRange()...)
		}
		if got != want {
			return errors.New("\n" + unlike(want, got))
		}
		return nil
	})
	return got
}

// endpointInRange keeps every node from enforcing the range of cluster IPs.
func (l *loop) endpointInRange() []runtime.Object {
	return []runtime.Object{
		victim("bank", "inside", "None", young, tcp("http", 80, 0)),
		slice("bank", "inside", "http", podPort, discoveryv1.Endpoint{Addresses: []string{"10.96.0.99"}}),
	}
}

// slack is how many goroutines and files come and go: those of requests.
const slack = 6

// number is a metric of a forwarder.
func (l *loop) number(r *rig, name string) float64 {
	_, page := r.node.Get(l.Context(), "http://127.0.0.1:10249/metrics")
	for line := range strings.Lines(page) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				l.Fatal(err)
			}
			return v
		}
	}
	return -1
}

// pause lets a moment pass in which whatever may happen does.
func (l *loop) pause() { time.Sleep(time.Duration(l.IntN(200)) * time.Millisecond) }
