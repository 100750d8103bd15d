package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// The nodes and pod addresses that documents below may name: a Store lists
// neither, so the tests ask for these.
var (
	nodeNames = []string{"n1", "n2"}
	podIPs    = []string{"10.1.0.1", "10.1.0.2"}
)

// dump lists all that a Store holds, without versions.
func dump(s *cluster.Store) []string {
	var out []string
	for e := range s.Services() {
		line := fmt.Sprintf("service %v %v %v", e.Service.Key, e.Service.ClusterIPs, e.Service.Ports)
		for _, sl := range e.Slices {
			line += " slice " + sl.Name
			for _, ep := range sl.Endpoints {
				line += fmt.Sprintf(" %v/%s/%d", ep.Addr, ep.Hostname, ep.Conditions)
			}
		}
		out = append(out, line)
	}
	for ns := range s.Namespaces() {
		out = append(out, "namespace "+ns)
	}
	for _, name := range nodeNames {
		if n := s.Node(name); n != nil {
			out = append(out, fmt.Sprintf("node %s %v", n.Name, n.Zone))
		}
	}
	for _, ns := range []string{"default", "x"} {
		for _, ip := range podIPs {
			if p := s.PodAt(ns, addr(ip)); p != nil {
				out = append(out, fmt.Sprintf("pod %v at %s", p.Key, ip))
			}
		}
	}
	for k := cluster.KindService; k <= cluster.KindServiceCIDR; k++ {
		out = append(out, fmt.Sprintf("%v %d", k, s.Count(k)))
	}
	slices.Sort(out)
	return out
}

// anyDocument draws a document of few names, so that they meet.
func anyDocument(t *rapid.T) string {
	name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
	ns := rapid.SampledFrom([]string{"default", "x"}).Draw(t, "namespace")
	n := rapid.IntRange(1, 3).Draw(t, "n")
	labels := rapid.SampledFrom([]string{"", "pick: me"}).Draw(t, "labels")
	switch rapid.SampledFrom([]string{"service", "slice", "namespace", "node", "pod", "other", "list"}).Draw(t, "kind") {
	case "service":
		return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s, labels: {%s}}, spec: {clusterIP: 10.0.0.%d}}", name, ns, labels, n)
	case "slice":
		return fmt.Sprintf("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [{addresses: [10.1.0.%d]}, {addresses: [10.1.0.9]}], "+
			"metadata: {name: %s-%d, namespace: %s, labels: {kubernetes.io/service-name: %s, %s}}}", n, name, n, ns, name, labels)
	case "namespace":
		return fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {%s}}}", ns, labels)
	case "node":
		return fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {topology.kubernetes.io/zone: z%d}}}",
			rapid.SampledFrom(nodeNames).Draw(t, "node"), n)
	case "pod":
		return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s, labels: {%s}}, status: {podIP: %s}}", name, ns, labels,
			map[string]string{"a": podIPs[0], "b": podIPs[1]}[name])
	case "list":
		return fmt.Sprintf("{apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: %s}}, {metadata: {name: %s}}]}", name, ns)
	}
	return "{apiVersion: v1, kind: Secret, metadata: {name: a}}"
}

func anyContent(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.Custom(anyDocument), 0, 3).Draw(t, "documents"), "\n---\n") + "\n"
}

// picks are options with what they mean, said the simplest way.
type picks struct {
	options Options
	takes   func(ref cluster.Ref, picked map[cluster.Ref]bool) bool
}

var allPicks = []picks{
	{Options{}, func(cluster.Ref, map[cluster.Ref]bool) bool { return true }},
	{Options{LabelSelector: "pick=me"}, func(ref cluster.Ref, picked map[cluster.Ref]bool) bool {
		return picked[ref] || ref.Key.Namespace == ""
	}},
	{Options{Namespaces: []string{"x", "y"}}, func(ref cluster.Ref, _ map[cluster.Ref]bool) bool {
		return ref.Key.Namespace == "x" || ref.Kind == cluster.KindNode
	}},
	{Options{NamespaceSelector: "pick=me"}, func(ref cluster.Ref, picked map[cluster.Ref]bool) bool {
		return ref.Kind == cluster.KindNode || picked[cluster.Ref{Kind: cluster.KindNamespace, Key: cluster.Key{Name: namespaceOf(ref)}}]
	}},
	{Options{Kinds: []cluster.Kind{cluster.KindService, cluster.KindNamespace}}, func(ref cluster.Ref, _ map[cluster.Ref]bool) bool {
		return ref.Kind == cluster.KindService || ref.Kind == cluster.KindNamespace
	}},
}

// machine edits a folder at random, and a feed looks at it now and then. Its twin
// is the simplest thing that could be right: read the last good content of all
// files from the start.
type machine struct {
	t    *rapid.T
	pick picks
	dir  string
	feed *Feed
	st   *cluster.Store
	good map[string]string // the last content by path that is not broken
	is   map[string]bool   // files that are there
	bad  map[string]bool   // files that are broken now
}

var machineFiles = []string{"a.yaml", "b.yml", "sub/a.yaml", "sub/deep/c.yaml", "z.json.yaml"}

func (m *machine) path(t *rapid.T) string {
	return filepath.Join(m.dir, rapid.SampledFrom(machineFiles).Draw(t, "file"))
}

func (m *machine) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

// write writes as an editor does (a new file, renamed) or in place.
func (m *machine) write(t *rapid.T, path, content string) {
	m.must(os.MkdirAll(filepath.Dir(path), 0o755))
	if rapid.Bool().Draw(t, "in place") {
		m.must(os.WriteFile(path, []byte(content), 0o644))
	} else {
		m.must(os.WriteFile(path+"~", []byte(content), 0o644))
		m.must(os.Rename(path+"~", path))
	}
	m.is[path] = true
}

func (m *machine) Write(t *rapid.T) {
	path, content := m.path(t), anyContent(t)
	m.write(t, path, content)
	m.good[path], m.bad[path] = content, false
	m.feed.reload([]string{path}) // the event
}

func (m *machine) Break(t *rapid.T) {
	path := m.path(t)
	m.write(t, path, rapid.SampledFrom([]string{"{", "hello", "a: b: c", "{apiVersion: v1, kind: Service, spec: []}"}).Draw(t, "broken"))
	m.bad[path] = true
	m.feed.reload([]string{path})
}

func (m *machine) Remove(t *rapid.T) {
	path := m.path(t)
	if !m.is[path] {
		t.Skip("not there")
	}
	m.must(os.Remove(path))
	m.gone(path)
	if rapid.Bool().Draw(t, "event comes") {
		m.feed.reload([]string{path})
	} else {
		m.look()
	}
}

func (m *machine) gone(path string) {
	delete(m.is, path)
	delete(m.good, path)
	delete(m.bad, path)
}

func (m *machine) RemoveFolder(*rapid.T) {
	m.must(os.RemoveAll(filepath.Join(m.dir, "sub")))
	for path := range m.is {
		if strings.HasPrefix(path, filepath.Join(m.dir, "sub")) {
			m.gone(path)
		}
	}
	// Else a broken file that comes in its place would keep what it said.
	m.look()
}

func (m *machine) look() {
	_, err := m.feed.scan()
	m.must(err)
}

// Noise are files that are none of our business.
func (m *machine) Noise(t *rapid.T) {
	for _, name := range []string{".a.yaml.swp", ".hidden.yaml", "a.yaml~", "README.md", "#a.yaml#", ".git/config.yaml"} {
		path := filepath.Join(m.dir, name)
		m.must(os.MkdirAll(filepath.Dir(path), 0o755))
		m.must(os.WriteFile(path, []byte(anyContent(t)), 0o644))
	}
	_ = os.Symlink("nowhere", filepath.Join(m.dir, "dangling.yaml"))
	m.must(os.MkdirAll(filepath.Join(m.dir, "folder.yaml"), 0o755))
}

// Check looks around and compares.
func (m *machine) Check(*rapid.T) {
	m.look()
	var parts []string
	objects, picked := map[cluster.Ref]cluster.Object{}, map[cluster.Ref]bool{}
	for _, path := range slices.Sorted(maps.Keys(m.good)) {
		for _, d := range splitYAML([]byte(m.good[path])) {
			f, err := parse(path, d.text, source.Options{}, &selection{})
			m.must(err)
			for ref, it := range f.byRef {
				objects[ref], picked[ref] = it.object, strings.Contains(string(d.text), "pick: me")
			}
		}
		parts = append(parts, path)
	}
	twin := cluster.NewStore()
	for ref, o := range objects {
		if m.pick.takes(ref, picked) {
			twin.Put(0, o)
		}
	}
	for _, ns := range m.pick.options.Namespaces {
		twin.Put(0, &cluster.Namespace{Name: ns})
	}
	if d := cmp.Diff(dump(twin), dump(m.st)); d != "" {
		m.t.Fatalf("files %v, -twin +store:\n%s", parts, d)
	}
	m.checkFresh()
	m.checkFiles()
}

// checkFresh: without broken files the folder alone decides.
func (m *machine) checkFresh() {
	for _, bad := range m.bad {
		if bad {
			return
		}
	}
	fresh := cluster.NewStore()
	_, err := New(m.dir, fresh, m.pick.options)
	m.must(err)
	if d := cmp.Diff(dump(fresh), dump(m.st)); d != "" {
		m.t.Fatalf("-fresh +store:\n%s", d)
	}
}

func (m *machine) checkFiles() {
	bad := 0
	for _, b := range m.bad {
		if b {
			bad++
		}
	}
	if got := m.feed.Files(); got.Read != len(m.is) || got.Broken != bad || got.Objects != len(m.feed.folder.shown) {
		m.t.Fatalf("%+v with %d files, %d broken", got, len(m.is), bad)
	}
	for ref, names := range m.feed.folder.places {
		if len(names) == 0 || !slices.IsSorted(names) {
			m.t.Fatalf("%v is in %v", ref, names)
		}
	}
}

func TestEditsInAnyOrderEqualAFreshLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "manifest")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &machine{t: t, dir: dir, st: cluster.NewStore(), good: map[string]string{}, is: map[string]bool{}, bad: map[string]bool{}}
		m.pick = rapid.SampledFrom(allPicks).Draw(t, "selection")
		m.feed, err = New(dir, m.st, m.pick.options)
		m.must(err)
		t.Repeat(map[string]func(*rapid.T){
			"write": m.Write, "break": m.Break, "remove": m.Remove, "remove folder": m.RemoveFolder, "noise": m.Noise, "check": m.Check,
		})
		m.Check(t)
	})
}

// TestRead covers what is no file, or not one for us.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, largestFile+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(big); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("a huge file: %v", err)
	}
	pipe := filepath.Join(dir, "pipe.yaml")
	if err := mkfifo(pipe); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(pipe); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a named pipe: %v", err)
	}
	if _, _, err := read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder: %v", err)
	}
	if _, _, err := read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}
