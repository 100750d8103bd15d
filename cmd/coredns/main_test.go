package main

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
)

func TestDirectives(t *testing.T) {
	all := slices.Clone(dnsserver.Directives)
	got := directives(all)
	at := slices.Index(got, "signpost")
	if at < 0 || got[at+1] != "kubernetes" {
		t.Fatalf("signpost is not right before kubernetes in %v", got)
	}
	if rest := slices.Delete(slices.Clone(got), at, at+1); !slices.Equal(rest, all) {
		t.Errorf("the other directives changed: %v, want %v", rest, all)
	}
	if !slices.Equal(all, dnsserver.Directives) {
		t.Error("the server's own list was changed in place")
	}
}

// What CoreDNS compiles in is compiled in here too, in one of our two lists.
func TestPluginsAreThoseOfCoreDNS(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "github.com/coredns/coredns/core/plugin").Output()
	if err != nil {
		t.Fatalf("listing CoreDNS's plugins: %v", err)
	}
	want := append(strings.Fields(string(out)), "github.com/signpost-dns/signpost/plugin/signpost")
	got := append(imports(t, "plugins.go"), imports(t, "plugins_release.go")...)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("plugins\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Who needs a plugin that the default image leaves out finds its name where the image is built.
func TestReadmeNamesThePluginsOfTheRelease(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, plugin := range imports(t, "plugins_release.go") {
		if !strings.Contains(string(readme), "`"+path.Base(plugin)+"`") {
			t.Errorf("README.md does not say that the default image has no plugin %s", path.Base(plugin))
		}
	}
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, s := range f.Imports {
		name, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, name)
	}
	return paths
}
