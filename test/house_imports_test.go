package test

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A room is one row of the import table: what a package may import beside the
// standard library, and why no more. Paths that start with "./" are ours; a
// path ending in "/..." takes in everything below it.
type room struct {
	path    string
	ours    []string // packages of ours
	outside []string // other modules
	pure    bool     // decides only: no clock, no files, no network, no processes
	because string
}

const (
	kubernetesTypes = "k8s.io/api"
	machinery       = "k8s.io/apimachinery"
	anything        = "..." // as a path: every package
)

// The import table. Arrows: cluster ← source; cluster ← plugin; cluster ← vip ←
// dataplane ← each kernel interface; agent → cluster, vip, dataplane; cmd →
// everything. Rows may wait for their package; a package without a row is an error.
var table = []room{
	{
		path: "./internal/cluster", pure: true,
		outside: []string{"github.com/gaissmai/bart"},
		because: "names and routes come from the same facts, so the model knows neither the API that they come from nor what is made of them",
	},
	{
		path: "./internal/source", pure: true,
		ours:    []string{"./internal/cluster"},
		outside: []string{kubernetesTypes, machinery, "sigs.k8s.io/mcs-api"},
		because: "it is the one place that knows both shapes of an object, and a conversion needs nothing but its argument",
	},
	{
		path:    "./internal/source/kube",
		ours:    []string{"./internal/cluster", "./internal/loglimit", "./internal/source"},
		outside: []string{kubernetesTypes, machinery, "k8s.io/client-go", "k8s.io/klog/v2", "k8s.io/utils", "sigs.k8s.io/mcs-api"},
		because: "it feeds the store and is done; who reads the store is not its business",
	},
	{
		path:    "./internal/source/manifest",
		ours:    []string{"./internal/cluster", "./internal/source"},
		outside: []string{kubernetesTypes, machinery, "sigs.k8s.io/yaml", "go.yaml.in/yaml/v3", "github.com/fsnotify/fsnotify"},
		because: "a folder of manifests must work where there is no cluster, so it must not lead to a client",
	},
	{
		path:    "./internal/loglimit",
		because: "it counts lines; what they are about is not its business",
	},
	{
		path:    "./internal/snapshot",
		ours:    []string{"./internal/cluster"},
		because: "it keeps a store on disk; who feeds the store and who reads it is not its business",
	},
	{
		path: "./plugin/signpost",
		ours: []string{"./internal/cluster", "./internal/loglimit", "./internal/snapshot", "./internal/source/..."},
		outside: []string{
			"github.com/coredns/coredns", "github.com/coredns/caddy", "github.com/miekg/dns",
			"github.com/prometheus/client_golang", "k8s.io/client-go/rest",
		},
		because: "answers come from the index alone: no API type, no routing, no kernel",
	},
	{
		path: "./internal/vip", pure: true,
		ours:    []string{"./internal/cluster"},
		because: "what a Service means is decided here once, for every kernel interface, and can be tested without any",
	},
	{
		path: "./internal/dataplane", pure: true,
		ours:    []string{"./internal/vip"},
		because: "a contract must not know who fulfils it",
	},
	{
		path:    "./internal/nft",
		outside: []string{"github.com/google/nftables", "golang.org/x/sys"},
		because: "it speaks to nf_tables for whoever has tables there; what they mean is not its business",
	},
	{
		path:    "./internal/dataplane/nftables",
		ours:    []string{"./internal/dataplane", "./internal/nft", "./internal/vip"},
		outside: []string{"github.com/google/nftables", "github.com/mdlayher/netlink", "golang.org/x/sys"},
		because: "it translates a table; a Service was turned into one before it got here",
	},
	{
		path:    "./internal/dataplane/iptables",
		ours:    []string{"./internal/cluster", "./internal/dataplane", "./internal/vip"}, // of cluster the names of protocols
		outside: []string{"github.com/prometheus/client_golang", "golang.org/x/sys"},      // kube-proxy's metrics about rules
		because: "it translates a table; a Service was turned into one before it got here",
	},
	{
		path:    "./internal/dataplane/ipvs",
		ours:    []string{"./internal/cluster", "./internal/conntrack", "./internal/dataplane", "./internal/nft", "./internal/vip"}, // of cluster the names of protocols, of conntrack the connections of IPVS
		outside: []string{"github.com/moby/ipvs", "github.com/sirupsen/logrus", "github.com/vishvananda/netlink", "github.com/google/nftables", "golang.org/x/sys"},
		because: "it translates a table; a Service was turned into one before it got here, and what IPVS cannot do nf_tables does",
	},
	{
		path:    "./internal/dataplane/conformance",
		ours:    []string{"./internal/cluster", "./internal/dataplane", "./internal/netlab", "./internal/vip"},
		outside: []string{"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys", "pgregory.net/rapid"},
		because: "one truth for every dataplane: they call it, it knows none of them",
	},
	{
		path:    "./internal/config",
		ours:    []string{"./internal/cluster", "./internal/vip"}, // the types of values, so that no value has two
		outside: []string{"k8s.io/kube-proxy", "k8s.io/component-base", machinery, "github.com/spf13/pflag", "sigs.k8s.io/yaml"},
		because: "a configuration is read and checked before anything that it configures exists",
	},
	{
		path:    "./internal/node",
		ours:    []string{"./internal/cluster"},
		outside: []string{"github.com/google/nftables", "github.com/vishvananda/netlink", "golang.org/x/sys"},
		because: "facts about this machine, not what is done with them",
	},
	{
		path:    "./internal/conntrack",
		ours:    []string{"./internal/cluster", "./internal/vip"}, // of cluster the names of protocols, which frontends hold
		outside: []string{"github.com/vishvananda/netlink", "golang.org/x/sys"},
		because: "it compares flows with a table; where that comes from is not its business",
	},
	{
		path:    "./internal/relay",
		ours:    []string{"./internal/cluster", "./internal/vip"}, // of cluster the names of protocols, which frontends hold
		because: "it follows a table as healthcheck does; how the kernel gets its routes is not its business",
	},
	{
		path:    "./internal/traffic",
		ours:    []string{"./internal/cluster", "./internal/nft", "./internal/vip"}, // of cluster the names of Services and protocols
		outside: []string{"golang.org/x/sys", "github.com/prometheus/client_golang"},
		because: "it counts in any mode, so it knows none of them",
	},
	{
		path:    "./internal/healthcheck",
		ours:    []string{"./internal/vip"},
		because: "load balancers ask it about a table, with nothing but HTTP in between",
	},
	{
		path: "./internal/agent",
		ours: []string{
			"./internal/cluster", "./internal/vip", "./internal/dataplane", "./internal/node",
			"./internal/conntrack", "./internal/healthcheck",
		},
		outside: []string{"github.com/prometheus/client_golang"},
		because: "the loop owns time and retries; it must run with any source and any dataplane, so it imports neither",
	},
	{
		path:    "./internal/netlab",
		outside: []string{"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys"},
		because: "test hosts for whoever needs them, so they know nothing of Services",
	},
	{
		path: "./cmd/...", ours: []string{"./internal/...", "./plugin/..."}, outside: []string{anything},
		because: "commands wire everything together, but a harness of the tests does not ship",
	},
	{
		path: "./test/...", ours: []string{"./..."}, outside: []string{anything},
		because: "tests of the whole may use all of it",
	},
	{
		path: "./test", ours: []string{"./..."}, outside: []string{anything},
		because: "tests of the whole may use all of it",
	},
}

// What a test may import on top of its package's row. The tests of a pure package
// get the tools only: they need no Kubernetes and no kernel either.
var (
	testTools = []string{
		"github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "go.uber.org/goleak",
		"golang.org/x/tools/txtar", "pgregory.net/rapid",
	}
	harnesses = []string{
		"./internal/cluster", "./internal/loglimit", "./internal/dataplane/conformance", "./internal/netlab", "./internal/source/...", "./test/...",
	}
	testOutside = []string{
		kubernetesTypes, machinery, "k8s.io/client-go", "sigs.k8s.io/yaml", "github.com/coredns",
		"github.com/miekg/dns", "github.com/prometheus", "github.com/vishvananda", "golang.org/x/sys",
	}
)

// A ban holds in every row, whatever the row allows.
type ban struct {
	imported string
	except   []string // packages of ours that may, tests included
	because  string
}

var bans = []ban{
	{"./cmd/...", nil, "commands are wiring; what two of them share belongs into a package"},
	{"./internal/agent", []string{"./cmd/...", "./test/..."}, "the agent is the top of the node's half; below it nothing knows that there is a loop"},
	{"./plugin/...", []string{"./cmd/...", "./plugin/...", "./test", "./test/..."}, "the plugin is the top of the DNS half; what others need of it belongs into the index"},
	{"github.com/caddyserver/caddy", nil, "CoreDNS maintains its own fork, github.com/coredns/caddy; two of them do not share a registry"},
	{"k8s.io/kubernetes", nil, "it builds half of Kubernetes; only the nested module test/cluster may"},
	{"github.com/pkg/errors", nil, "fmt.Errorf with %w says it"},
	{"gopkg.in/yaml.v2", nil, "Kubernetes reads YAML by sigs.k8s.io/yaml, and so must we, or the same file means two things"},
	{"gopkg.in/yaml.v3", nil, "Kubernetes reads YAML by sigs.k8s.io/yaml, and so must we, or the same file means two things"},
	{"io/ioutil", nil, "deprecated since Go 1.16"},
	{"math/rand", nil, "math/rand/v2 needs no seed and no lock"},
}

// impure are packages of the standard library that a pure package must not import.
var impure = []string{"io/fs", "log", "log/slog", "net", "net/http", "os", "os/exec", "os/signal", "syscall"}

func TestImportsFollowTheTable(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, finding := range checkImports(p) {
			t.Error(finding)
		}
	}
}

// checkImports holds one package against the table and the bans.
func checkImports(p pkg) []string {
	r, ok := roomOf(p.ImportPath)
	if !ok {
		return []string{p.ImportPath + ": has no row in the import table; add one that says what it may import and why no more"}
	}
	var found []string
	check := func(r room, imports []string) {
		for _, i := range imports {
			if why := r.refuses(p.ImportPath, i); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, i, why))
			}
		}
	}
	check(r, p.Imports)
	check(r.withTests(p.ImportPath), append(p.TestImports, p.XTestImports...))
	return found
}

// withTests is the row as it holds for the tests of a package.
func (r room) withTests(importPath string) room {
	r.ours = append([]string{importPath}, r.ours...)
	r.outside = append(slices.Clone(testTools), r.outside...)
	if !r.pure {
		r.ours = append(r.ours, harnesses...)
		r.outside = append(r.outside, testOutside...)
	}
	r.pure = false // a test may read its testdata
	return r
}

// refuses returns why a package of this room must not import a path, or "".
func (r room) refuses(importer, imported string) string {
	for _, b := range bans {
		if matches(imported, b.imported) && !matchesAny(importer, b.except) && imported != importer {
			return b.because
		}
	}
	switch {
	case strings.HasPrefix(imported, "."):
		if !matchesAny(imported, r.ours) {
			return r.because
		}
	case isStandard(imported):
		if r.pure && matchesAny(imported, impure) {
			return r.because + " (it decides only, and " + imported + " reaches outside the process)"
		}
	case !matchesAny(imported, r.outside):
		return r.because
	}
	return ""
}

// isStandard: only paths of the standard library have no dot in their first part.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// roomOf finds the row of a package: its own, or the longest that takes it in.
func roomOf(importPath string) (room, bool) {
	var best room
	for _, r := range table {
		if r.path == importPath {
			return r, true
		}
		if strings.HasSuffix(r.path, "/...") && matches(importPath, r.path) && len(r.path) > len(best.path) {
			best = r
		}
	}
	return best, best.path != ""
}

// matches reports whether a path is in a pattern. For packages of ours and of
// the standard library a pattern is one package unless it ends in "/..."; for
// others it is a module, with all that is below it.
func matches(importPath, pattern string) bool {
	if pattern == anything {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return importPath == base || strings.HasPrefix(importPath, base+"/")
	}
	if strings.HasPrefix(pattern, ".") || isStandard(pattern) {
		return importPath == pattern
	}
	return importPath == pattern || strings.HasPrefix(importPath, pattern+"/")
}

func matchesAny(importPath string, patterns []string) bool {
	for _, p := range patterns {
		if matches(importPath, p) {
			return true
		}
	}
	return false
}

// TestSourcesStayInSetup: a plugin names the sources where it is set up, nowhere
// else. go list knows packages only, so this reads the files.
func TestSourcesStayInSetup(t *testing.T) {
	for _, s := range readSources(t) {
		for _, finding := range checkSetupOnly(s) {
			t.Error(finding)
		}
	}
}

var (
	// setupFiles read a plugin's stanza and start what feeds the index.
	setupFiles = []string{"setup.go", "feed.go"}
	// setupOnly is what no other file of a plugin may import.
	setupOnly = []string{"./internal/source/...", "k8s.io/client-go"}
)

func checkSetupOnly(s source) []string {
	if !strings.HasPrefix(s.path, "plugin/") || s.isTest() || slices.Contains(setupFiles, path.Base(s.path)) {
		return nil
	}
	var found []string
	for _, i := range s.file.Imports {
		name, _ := strconv.Unquote(i.Path.Value)
		if matchesAny(ours(name), setupOnly) {
			found = append(found, fmt.Sprintf("%s:%d imports %s: only %s may, for queries are answered from the index, whatever fills it",
				s.path, s.line(i), ours(name), strings.Join(setupFiles, " and ")))
		}
	}
	return found
}

// TestTableIsWellFormed: each row and each ban gives its reason, no path twice.
func TestTableIsWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		if r.because == "" || seen[r.path] {
			t.Errorf("row %s: no reason, or a second row of that path", r.path)
		}
		seen[r.path] = true
	}
	for _, b := range bans {
		if b.because == "" {
			t.Errorf("ban of %s: no reason", b.imported)
		}
	}
}
