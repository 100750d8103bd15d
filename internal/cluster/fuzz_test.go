package cluster

import (
	"testing"
)

// script reads choices from the bytes of an input; when they are over, each is 0.
type script struct{ data []byte }

func (s *script) choose(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	c := int(s.data[0]) % n
	s.data = s.data[1:]
	return c
}

func pick[T any](s *script, list []T) T { return list[s.choose(len(list))] }

func (s *script) key() Key { return Key{pick(s, worldNames), pick(s, worldNames)} }

// object is a new state of an object of that kind.
func (s *script) object(kind Kind) any {
	switch kind {
	case KindService:
		svc := &Service{Key: s.key(), Version: uint64(s.choose(4)), Ports: []ServicePort{{Name: "http", Number: 80, Protocol: TCP}}}
		switch s.choose(4) {
		case 0:
			svc.Headless = true
		case 1:
			svc.Type, svc.Ports, svc.External = ExternalName, nil, &External{Name: "example.org"}
		default:
			svc.ClusterIPs = append(svc.ClusterIPs, pick(s, worldV4))
		}
		return svc
	case KindSlice:
		sl := twinSlice{
			key: Key{pick(s, worldNames), pick(s, []string{"s0", "s1", "s2"})}, version: uint64(s.choose(4)), ports: pick(s, worldPorts),
		}
		sl.service = Key{sl.key.Namespace, pick(s, worldNames)}
		for range s.choose(5) {
			sl.endpoints = append(sl.endpoints, Endpoint{
				Addr: pick(s, worldAddrs()), Hostname: pick(s, []string{"", "web-0", "web-1"}), Pod: PodID(s.choose(3)),
				Conditions: pick(s, []Conditions{Ready | Serving, Ready | Serving, Serving | Terminating, 0}),
			})
		}
		return sl
	case KindPod:
		return &Pod{Key: s.key(), Addrs: worldV4[:s.choose(3)]}
	}
	return &Namespace{pick(s, worldNames)}
}

var scriptKinds = []Kind{KindService, KindSlice, KindSlice, KindSlice, KindPod, KindNamespace}

// event makes one change of both: an object comes or changes, goes, is listed anew with
// others of its kind, or the API is restored.
func (s *script) event(p *pair) {
	kind, version := pick(s, scriptKinds), uint64(s.choose(100))
	var list []any
	action := s.choose(8)
	switch action {
	case 6:
		for range s.choose(4) {
			list = append(list, s.object(kind))
		}
		p.twin.empty(kind)
	case 7:
		p.twin.version = version
		p.store.Rewind(version)
		return
	default:
		list = []any{s.object(kind)}
	}
	p.twice = repeats(list)
	p.twin.version = max(p.twin.version, version)
	objects := forStore(list)
	switch {
	case action == 6:
		p.store.Replace(version, kind, objects)
	case action < 4:
		p.store.Put(version, objects...)
	default:
		p.twin.delete(objects[0].Ref())
		p.store.Delete(version, objects[0].Ref())
		return
	}
	for _, o := range list {
		p.twin.put(o)
	}
}

// longestScript bounds the time of one input: after each event everything is compared.
const longestScript = 24

// FuzzEvents compares the Store with its twin after each event that an input spells.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a Service, its slices, a pod that moves from one to another, and a list that ends it all"))
	f.Add([]byte{1, 9, 0, 0, 0, 1, 0, 0, 2, 3, 0, 0, 1, 0, 1, 0, 0, 0, 12, 2, 0, 0, 0, 0, 0, 1, 12, 2, 0, 0, 2, 1, 0, 0, 13, 5, 7, 9, 1, 1, 6, 2, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, s := newPair(), &script{data}
		for range longestScript {
			if len(s.data) == 0 {
				break
			}
			s.event(p)
			p.check(t)
		}
	})
}
