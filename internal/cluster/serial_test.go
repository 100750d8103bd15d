package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// contentOf writes what a part of the twin says, each time from the beginning.
func (w *twin) contentOf(part Part) string {
	var lines []string
	switch part {
	case PartNames:
		for k, svc := range w.services {
			line := fmt.Sprintf("%v %v %v %v %v %+v", k, svc.Type, svc.Headless, svc.ClusterIPs, svc.Ports, svc.External)
			last := Key{}
			for _, l := range w.listings(k) {
				if !l.ep.Has(Ready) {
					continue
				}
				if l.slice.key != last {
					last = l.slice.key
					line += fmt.Sprintf("; %v:", l.slice.ports)
				}
				line += fmt.Sprintf(" %v/%s/%v", l.ep.Addr, l.ep.Hostname, l.ep.Zone)
			}
			lines = append(lines, line)
		}
	case PartPods:
		for _, name := range worldNames {
			lines = append(lines, fmt.Sprintf("namespace %s %v", name, w.exists(name)))
		}
		for k, p := range w.pods {
			lines = append(lines, fmt.Sprintf("pod %v %v", k, p.Addrs))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// numbered is what the last Check saw of a part.
type numbered struct {
	content string
	serial  uint64
}

// checkSerials demands that a serial rises if and only if the content changed.
func (p *pair) checkSerials(t fataler) {
	for part := range PartImports {
		was, now := p.numbered[part], numbered{p.twin.contentOf(part), p.store.Serial(part)}
		p.numbered[part] = now
		changed := was.content != now.content
		if was.content == "" { // before the first write
			continue
		}
		if changed && now.serial <= was.serial || now.serial < was.serial {
			t.Fatalf("part %d: serial %d after %d, and the content changed from\n%s\nto\n%s", part, now.serial, was.serial, was.content, now.content)
		}
		if !changed && now.serial != was.serial && !p.twice {
			t.Fatalf("part %d: serial %d after %d, and the content is still\n%s", part, now.serial, was.serial, now.content)
		}
	}
	if all := p.store.Serial(PartNames, PartPods); all != max(p.numbered[PartNames].serial, p.numbered[PartPods].serial) {
		t.Fatalf("Serial of both parts is %d, of each %+v", all, p.numbered)
	}
}

// Rewind restores the API from a backup.
func (p *pair) Rewind(t *rapid.T) {
	p.twin.version = rapid.Uint64Range(0, 100).Draw(t, "resourceVersion")
	p.store.Rewind(p.twin.version)
}

func TestAlike(t *testing.T) {
	web := func(change func(*Service)) *Service {
		s := &Service{Key: Key{"ns", "web"}, Version: 1, ClusterIPs: addrs("10.0.0.1"), External: &External{IPs: addrs("192.0.2.1")}}
		change(s)
		return s
	}
	for name, c := range map[string]struct {
		change func(*Service)
		want   bool
	}{
		"nothing":       {func(*Service) {}, true},
		"the version":   {func(s *Service) { s.Version = 9 }, true},
		"a ClusterIP":   {func(s *Service) { s.ClusterIPs = addrs("10.0.0.2") }, false},
		"a pointed one": {func(s *Service) { s.External.IPs = addrs("192.0.2.2") }, false},
	} {
		if got := web(func(*Service) {}).Alike(web(c.change)); got != c.want {
			t.Errorf("%s differs: alike %v, want %v", name, got, c.want)
		}
	}
}

// TestSerial follows one Store through what happens to a running process.
func TestSerial(t *testing.T) {
	s := NewStore()
	web := func(version uint64, ip string) *Service {
		return &Service{Key: Key{"ns", "web"}, Version: version, ClusterIPs: addrs(ip)}
	}
	ready := func(cond Conditions) *Slice {
		return NewSlice(Key{"ns", "web-1"}, Key{"ns", "web"}, 0, nil, []Endpoint{{Addr: addrs("10.1.0.1")[0], Conditions: cond}})
	}
	imported := &ServiceImport{web(0, "10.9.0.1")}
	for _, step := range []struct {
		what                 string
		do                   func()
		names, pods, imports uint64
	}{
		{"the first list", func() { s.Replace(200, KindService, []Object{web(150, "10.0.0.1")}) }, 200, 200, 0},
		{"a bookmark, or what names do not show", func() { s.Put(210) }, 200, 200, 0},
		{"another annotation", func() { s.Put(211, web(211, "10.0.0.1")) }, 200, 200, 0},
		{"an endpoint that is not ready", func() { s.Put(212, ready(0)) }, 200, 200, 0},
		{"a ready endpoint", func() { s.Put(213, ready(Ready|Serving)) }, 213, 200, 0},
		{"a change that has no version", func() { s.Put(0, ready(Serving|Terminating)) }, 214, 200, 0},
		{"a change that comes late", func() { s.Put(209, ready(Ready)) }, 215, 200, 0},
		{"a pod", func() { s.Put(216, &Pod{Key: Key{"ns", "p"}, Addrs: addrs("10.1.0.1")}) }, 215, 216, 0},
		{"its labels", func() {
			s.Put(217, &Pod{Key: Key{"ns", "p"}, Addrs: addrs("10.1.0.1"), Labels: MakeLabels(map[string]string{"a": "b"})})
		}, 215, 216, 0},
		{"a set of clusters", func() { s.Put(218, imported) }, 215, 216, 218},
		{"a restore of the API", func() { s.Rewind(6) }, 215, 216, 218},
		{"the same list as before", func() { s.Replace(6, KindService, []Object{web(5, "10.0.0.1")}) }, 215, 216, 218},
		{"a list with a change", func() { s.Replace(6, KindService, []Object{web(5, "10.0.0.2")}) }, 219, 216, 218},
		{"a change after it", func() { s.Put(9, web(9, "10.0.0.3")) }, 221, 216, 218},
		{"a second restore", func() { s.Rewind(8) }, 221, 216, 218},
		{"a deletion", func() { s.Delete(20, Ref{KindPod, Key{"ns", "p"}}) }, 221, 233, 218},
	} {
		step.do()
		if names, pods, imports := s.Serial(PartNames), s.Serial(PartPods), s.Serial(PartImports); names != step.names || pods != step.pods || imports != step.imports {
			t.Errorf("after %s: names %d, pods %d, imports %d; want %d, %d, %d", step.what, names, pods, imports, step.names, step.pods, step.imports)
		}
	}
	if v := s.Version(); v != 20 {
		t.Errorf("Version() = %d, want that of the restored API", v)
	}
}
