package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// scenario is a writer that churns and what a reader must find at any moment.
type scenario struct {
	name  string
	start func(*Store)
	write func(s *Store, step int)
	read  func(s *Store, step int) error // step: the last one that is done
}

// The endpoint that is in every state of the scenarios.
var stays = netip.MustParseAddr("10.0.0.1")

// web is a Service of two slices with 4 endpoints in all, of which stays changes
// sides at every step. The generation stands in all three objects.
func web(step int) (svc *Service, a, b *Slice) {
	version, port := uint64(step), uint16(1000+step%50_000)
	svc = service("default/web", "10.96.0.1")
	svc.Ports[0].Number = port
	here, there := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.4"}
	if step%2 == 1 {
		here, there = []string{"10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1", "10.0.0.4"}
	}
	a = slice("web-a", "default/web", version, []uint16{port}, here...)
	b = slice("web-b", "default/web", version, []uint16{port}, there...)
	return svc, a, b
}

func wholeWeb(s *Store) error {
	if e := s.Service("default", "web"); e == nil || e.Service.Ports[0].Number != e.Slices[0].Ports[0].Number {
		return errors.New("half an update: the Service and a slice have different ports")
	}
	return wholeSlices(s)
}

func wholeSlices(s *Store) error {
	e := s.Service("default", "web")
	if len(e.Slices) != 2 || e.Slices[0].Version != e.Slices[1].Version {
		return fmt.Errorf("half an update: %v", show(e))
	}
	if v4, _ := e.Ready(); v4 != 4 {
		return fmt.Errorf("%d ready: %v", v4, show(e))
	}
	return staysHere(s)
}

// staysHere finds stays in every way that there is.
func staysHere(s *Store) error {
	if e := s.Service("default", "web"); e == nil || e.ReadyEndpoint(stays) == nil {
		return errors.New("the Service misses the endpoint")
	}
	o := s.Owners(stays)
	if !o.Valid() {
		return errors.New("the address has no owner")
	}
	if e := o.Entry(); e == nil || e.ReadyEndpoint(stays) == nil {
		return errors.New("the owner misses the endpoint")
	}
	if !s.HasAddressIn(host(stays)) {
		return errors.New("nothing at the address")
	}
	return nil
}

const (
	manyServices = 40
	stableOnes   = 100
)

func scenarios() []scenario {
	var second [50]netip.Addr
	for i := range second {
		second[i] = nth("10.0.1.0", i)
	}
	shared := func(i int) (*Service, *Slice) {
		name := fmt.Sprintf("default/shared-%d", i)
		return service(name), slice(fmt.Sprintf("shared-%d-x", i), name, 1, []uint16{80}, stays.String())
	}
	return []scenario{{
		name:  "a Service and its slices in one Put",
		start: func(s *Store) { svc, a, b := web(0); s.Put(0, svc, a, b) },
		write: func(s *Store, step int) { svc, a, b := web(step); s.Put(0, b, svc, a) },
		read:  func(s *Store, _ int) error { return wholeWeb(s) },
	}, {
		name:  "an endpoint moves by relists",
		start: func(s *Store) { svc, a, b := web(0); s.Put(0, svc, a, b) },
		write: func(s *Store, step int) {
			_, a, b := web(step)
			list := []Object{a, b}
			if step/2%2 == 0 {
				list = []Object{b, a}
			}
			s.Replace(0, KindSlice, list)
		},
		read: func(s *Store, _ int) error { return wholeSlices(s) },
	}, {
		name:  "an endpoint moves to a new slice, the old one goes by a relist",
		start: func(s *Store) { svc, a, b := web(0); s.Put(0, svc, a, b) },
		write: func(s *Store, step int) {
			s.Replace(0, KindSlice, []Object{
				slice(fmt.Sprint("web-", step), "default/web", uint64(step), []uint16{80}, "10.0.0.1", "10.0.0.9"),
			})
		},
		read: func(s *Store, _ int) error { return staysHere(s) },
	}, {
		name:  "an endpoint moves by one event after the other",
		start: func(s *Store) { svc, a, b := web(0); s.Put(0, svc, a, b) },
		write: func(s *Store, step int) {
			_, a, b := web(step)
			if step%2 == 1 {
				a, b = b, a
			}
			s.Put(0, a) // the one that has it now
			s.Put(0, b)
		},
		read: func(s *Store, _ int) error { return staysHere(s) },
	}, {
		name: "a slice changes its Service",
		start: func(s *Store) {
			s.Put(0, service("default/web"), service("default/web-2"))
			s.Put(0, slice("web-a", "default/web", 0, []uint16{80}, "10.0.0.1"))
		},
		write: func(s *Store, step int) {
			s.Put(0, slice("web-a", []string{"default/web", "default/web-2"}[step%2], 0, []uint16{80}, "10.0.0.1"))
		},
		read: func(s *Store, _ int) error {
			if !s.Owners(stays).Valid() || !s.HasAddressIn(host(stays)) {
				return errors.New("the address has no owner")
			}
			return nil
		},
	}, {
		name:  "a pod gets another second address",
		start: func(s *Store) { s.Put(0, &Pod{Key: Key{"default", "web-0"}, Addrs: []netip.Addr{stays}}) },
		write: func(s *Store, step int) {
			p := &Pod{Key: Key{"default", "web-0"}, Addrs: []netip.Addr{second[step%len(second)], stays}}
			if step%2 == 0 {
				s.Put(0, p)
			} else {
				s.Replace(0, KindPod, []Object{p})
			}
		},
		read: func(s *Store, step int) error {
			if s.PodAt("default", stays) == nil {
				return errors.New("the pod is missing")
			}
			for range 20 { // at the address that it is about to leave
				a := second[step%len(second)]
				if p := s.PodAt("default", a); p != nil && p.Addrs[0] != a {
					return fmt.Errorf("pod with %v found at %v", p.Addrs, a)
				}
			}
			return nil
		},
	}, {
		name: "many Services share an address, some come and go",
		start: func(s *Store) {
			for i := range manyServices {
				svc, sl := shared(i)
				s.Put(0, svc, sl)
			}
		},
		write: func(s *Store, step int) {
			i := step*2%manyServices + 1 // the odd ones
			svc, sl := shared(i)
			switch step / manyServices % 4 {
			case 0:
				s.Delete(0, svc.Ref())
			case 1:
				s.Put(0, svc)
			case 2:
				s.Delete(0, svc.Ref(), sl.Ref())
			case 3:
				s.Put(0, sl, svc)
			}
		},
		read: func(s *Store, _ int) error {
			found := map[Key]bool{}
			for o := s.Owners(stays); o.Valid(); o = o.Next() {
				if e := o.Entry(); e != nil {
					if found[e.Service.Key] {
						return fmt.Errorf("%v twice", e.Service.Key)
					}
					found[e.Service.Key] = true
				}
			}
			for i := 0; i < manyServices; i += 2 {
				if svc, _ := shared(i); !found[svc.Key] {
					return fmt.Errorf("%v is missing", svc.Key)
				}
			}
			return nil
		},
	}, {
		name: "the table is rebuilt",
		start: func(s *Store) {
			for i := range stableOnes {
				s.Put(0, service(fmt.Sprintf("default/stable-%d", i)))
			}
		},
		write: func(s *Store, step int) {
			s.Put(0, service(fmt.Sprintf("default/passing-%d", step)))
			if step >= 10 {
				s.Delete(0, service(fmt.Sprintf("default/passing-%d", step-10)).Ref())
			}
		},
		read: func(s *Store, _ int) error {
			n := 0
			for e := range s.Services() {
				if len(e.Service.Name) >= 7 && e.Service.Name[:6] == "stable" {
					n++
				}
			}
			if n != stableOnes {
				return fmt.Errorf("Services() yields %d of %d", n, stableOnes)
			}
			for i := range stableOnes {
				if s.Service("default", fmt.Sprintf("stable-%d", i)) == nil {
					return fmt.Errorf("stable-%d is missing", i)
				}
			}
			return nil
		},
	}, {
		name:  "a Service that exists has a namespace, and a version seen its object",
		start: func(s *Store) { s.Put(0, service("ns-0/web")) },
		write: func(s *Store, step int) { s.Put(uint64(step), service(fmt.Sprintf("ns-%d/web", step))) },
		read: func(s *Store, step int) error {
			for i := step; i < step+3; i++ {
				if ns := fmt.Sprintf("ns-%d", i); s.Service(ns, "web") != nil && !s.Namespace(ns) {
					return fmt.Errorf("%s/web exists and its namespace does not", ns)
				}
			}
			if v := s.Version(); s.Service(fmt.Sprintf("ns-%d", v), "web") == nil {
				return fmt.Errorf("version %d without its object", v)
			}
			return nil
		},
	}}
}

// TestConcurrentReaders has readers look while a writer churns: what holds
// before and after each write must hold at every moment between.
func TestConcurrentReaders(t *testing.T) {
	steps := 3000
	if testing.Short() {
		steps = 300
	}
	for _, c := range scenarios() {
		t.Run(c.name, func(t *testing.T) {
			s := NewStore()
			c.start(s)
			var done atomic.Int64
			var wrong atomic.Pointer[error]
			stop := make(chan struct{})
			var ready, readers sync.WaitGroup
			for range 3 {
				ready.Add(1)
				readers.Go(func() {
					for first := true; ; first = false {
						if err := c.read(s, int(done.Load())); err != nil {
							wrong.CompareAndSwap(nil, &err)
						}
						if first {
							ready.Done()
						}
						select {
						case <-stop:
							return
						default:
							runtime.Gosched() // or the readers starve the writer on a small machine
						}
					}
				})
			}
			ready.Wait()
			for step := 1; step <= steps && wrong.Load() == nil; step++ {
				c.write(s, step)
				done.Store(int64(step))
			}
			close(stop)
			readers.Wait()
			if err := wrong.Load(); err != nil {
				t.Errorf("after step %d: %v", done.Load(), *err)
			}
		})
	}
}

// TestConcurrentWriters puts from several goroutines: writers take turns.
func TestConcurrentWriters(t *testing.T) {
	const writers, each = 4, 200
	s := NewStore()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("ns-%d/svc-%d", w, i)
				s.Put(uint64(w*each+i+1), service(name), slice("x", name, 1, []uint16{80}, stays.String()))
			}
		})
	}
	wg.Wait()
	if got := s.Count(KindService); got != writers*each {
		t.Errorf("Count(services) = %d, want %d", got, writers*each)
	}
	if got := s.Version(); got != writers*each {
		t.Errorf("Version() = %d, want %d", got, writers*each)
	}
	owners := 0
	for o := s.Owners(stays); o.Valid(); o = o.Next() {
		owners++
	}
	// A slice named x per namespace: it ends with the last Service that it was put for.
	if owners != writers {
		t.Errorf("%d owners, want %d", owners, writers)
	}
}

// TestSubscriberSeesWhatItIsToldOf reads as soon as it is woken: nothing of the
// change may still be on its way.
func TestSubscriberSeesWhatItIsToldOf(t *testing.T) {
	const writes, together = 10, 2000
	s := NewStore()
	sub := s.Subscribe()
	addr := func(i int) netip.Addr { return nth("10.96.0.0", i) }
	var writer sync.WaitGroup
	writer.Go(func() {
		for w := range writes {
			var list []Object
			for i := range together {
				n := w*together + i
				list = append(list, service(fmt.Sprintf("default/svc-%d", n), addr(n).String()))
			}
			s.Put(uint64(w+1), list...)
		}
	})
	for told := 0; told < writes*together; {
		<-sub.Wake()
		for _, r := range sub.Take() {
			told++
			e := s.Service(r.Key.Namespace, r.Key.Name)
			if e == nil {
				t.Fatalf("told of %v, which is not there", r)
			}
			if a := e.Service.ClusterIPs[0]; !s.Owners(a).Valid() {
				t.Fatalf("told of %v, and %v has no owner", r, a)
			}
			if s.Version() < uint64((told-1)/together+1) {
				t.Fatalf("told of %d Services at version %d", told, s.Version())
			}
		}
	}
	writer.Wait()
}
