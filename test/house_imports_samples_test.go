package test

import (
	"strings"
	"testing"
)

func TestImportRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		name string
		p    pkg
		want string // part of the only finding; "" if there must be none
	}{
		{"the model imports the API", pkg{ImportPath: "./internal/cluster", Imports: []string{"k8s.io/api/core/v1"}}, "names and routes"},
		{"the model opens files", pkg{ImportPath: "./internal/cluster", Imports: []string{"os"}}, "reaches outside"},
		{"the model's test opens files", pkg{ImportPath: "./internal/cluster", TestImports: []string{"os"}}, ""},
		{"the model's test needs Kubernetes", pkg{ImportPath: "./internal/cluster", XTestImports: []string{"k8s.io/client-go/kubernetes"}}, "names and routes"},
		{"the model takes values", pkg{ImportPath: "./internal/cluster", Imports: []string{"net/netip", "iter"}}, ""},
		{"a folder leads to a client", pkg{ImportPath: "./internal/source/manifest", Imports: []string{"k8s.io/client-go/rest"}}, "no cluster"},
		{"a row is one package", pkg{ImportPath: "./internal/source/kube/cache", Imports: nil}, "no row"},
		{"the plugin routes", pkg{ImportPath: "./plugin/signpost", Imports: []string{"./internal/vip"}}, "index alone"},
		{"the plugin's test uses a test host", pkg{ImportPath: "./plugin/signpost", TestImports: []string{"./internal/netlab"}}, ""},
		{"the plugin uses a test host", pkg{ImportPath: "./plugin/signpost", Imports: []string{"./internal/netlab"}}, "index alone"},
		{"a dataplane imports another", pkg{ImportPath: "./internal/dataplane/ipvs", Imports: []string{"./internal/dataplane/nftables"}}, "translates a table"},
		{"a dataplane's test passes the conformance", pkg{ImportPath: "./internal/dataplane/nftables", TestImports: []string{"./internal/dataplane/conformance"}}, ""},
		{"a dataplane ships the conformance", pkg{ImportPath: "./internal/dataplane/nftables", Imports: []string{"./internal/dataplane/conformance"}}, "translates a table"},
		{"a dataplane reads Services", pkg{ImportPath: "./internal/dataplane/nftables", Imports: []string{"./internal/cluster"}}, "translates a table"},
		{"something imports the plugin", pkg{ImportPath: "./internal/netlab", Imports: []string{"./plugin/signpost"}}, "top of the DNS half"},
		{"a command imports the plugin", pkg{ImportPath: "./cmd/coredns", Imports: []string{"./plugin/signpost"}}, ""},
		{"a command imports a command", pkg{ImportPath: "./cmd/playground", Imports: []string{"./cmd/coredns"}}, "commands are wiring"},
		{"a command ships a harness", pkg{ImportPath: "./cmd/coredns", Imports: []string{"./test/apiserver"}}, "does not ship"},
		{"a command's test uses a harness", pkg{ImportPath: "./cmd/coredns", TestImports: []string{"./test/apiserver"}}, ""},
		{"the other caddy", pkg{ImportPath: "./cmd/coredns", Imports: []string{"github.com/caddyserver/caddy/v2"}}, "fork"},
		{"Kubernetes itself", pkg{ImportPath: "./test/apiserver", Imports: []string{"k8s.io/kubernetes/cmd/kube-apiserver"}}, "half of Kubernetes"},
		{"a cousin of Kubernetes", pkg{ImportPath: "./test/apiserver", Imports: []string{"k8s.io/kubernetes-x"}}, ""},
		{"the first random package", pkg{ImportPath: "./plugin/signpost", Imports: []string{"math/rand"}}, "v2"},
		{"the second random package", pkg{ImportPath: "./plugin/signpost", Imports: []string{"math/rand/v2"}}, ""},
		{"a package nobody planned", pkg{ImportPath: "./internal/helpers", Imports: nil}, "no row"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, checkImports(c.p), c.want) })
	}
	s, err := parseSource("plugin/signpost/answer.go", []byte("package signpost\n\nimport _ \""+module+"/internal/source/kube\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, checkSetupOnly(s), "answer.go:3 imports ./internal/source/kube")
	s.path = "plugin/signpost/setup.go"
	expect(t, checkSetupOnly(s), "")
}

// expect holds findings against a part of the one that must be there, or none.
func expect(t *testing.T, found []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("found %q, expected nothing", found)
	case want != "" && len(found) != 1:
		t.Errorf("%d findings %q, expected one with %q", len(found), found, want)
	case want != "" && !strings.Contains(found[0], want):
		t.Errorf("found %q, expected %q in it", found[0], want)
	}
}
