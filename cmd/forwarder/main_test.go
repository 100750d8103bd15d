package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/tools/txtar"

	"github.com/signpost-dns/signpost/internal/netlab"
)

var update = flag.Bool("update", false, "write what is wanted anew")

// beForwarder makes the test binary the forwarder, for tests that need a process.
const beForwarder = "FORWARDER_TEST_BE"

func TestMain(m *testing.M) {
	if os.Getenv(beForwarder) != "" {
		main()
		return
	}
	if os.Getenv(beRelaxed) != "" {
		relaxed()
		return
	}
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// do runs the command to its end.
func do(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), args, environment{&out, t.Output()})
	return out.String(), err
}

// nft runs the tool; where there is none the test is skipped.
func nft(t *testing.T, h *netlab.Host, input string, args ...string) string {
	t.Helper()
	return tool(t, h, "nft", input, args...)
}

// tool runs a program of the machine on a host, nil for this one, and returns what it prints.
func tool(t *testing.T, h *netlab.Host, name, input string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: install nftables and iptables", err)
	}
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	start := cmd.Run
	if h != nil {
		start = func() error { return h.Run(cmd) }
	}
	if err := start(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out.String())
	}
	return out.String()
}

func TestRefuses(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "config")
	if err := os.WriteFile(file, []byte("kind: Pod\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args string
		want []string // parts of the message
	}{
		{"unknown flag", "--no-such-flag", []string{"--no-such-flag", "does not exist"}},
		{"unknown command", "plans", []string{`argument: got "plans", want plan or explain, or flags only`}},
		{"unknown command among flags", "--v=1 start --proxy-mode=iptables", []string{`argument: got "start", want plan or explain, or flags only`}},
		{"more than plan", "plan --manifests=" + empty + " node-1", []string{`argument: got "node-1"`}},
		{"plan that would remove", "--cleanup plan --manifests=" + empty, []string{`argument "plan" with --cleanup`}},
		{"explain that would write", "explain 10.0.0.1 10.96.0.1:80 --write-config-to=" + empty + "/x", []string{`argument "explain" with`}},
		{"mode", "--proxy-mode=ebpf", []string{"--proxy-mode: got ebpf", "want nftables"}},
		{"configuration", "--config=" + file, []string{file, "KubeProxyConfiguration"}},
		{"folder of manifests", "plan --manifests=" + empty + "/none", []string{empty + "/none", "a folder that this process can read"}},
		{"no API", "plan", []string{"find the API server", "--master", "--manifests"}},
		{"kubeconfig", "plan --kubeconfig=" + empty + "/none", []string{"kubeconfig " + empty + "/none"}},
		{"kubeconfig beside a server", "plan --master=https://192.0.2.1 --kubeconfig=" + empty + "/none", []string{"credentials for the API server https://192.0.2.1", empty + "/none"}},
		{"server", "plan --master=::", []string{"::"}},
		{"where to write", "--write-config-to=" + empty + "/none/x", []string{"--write-config-to", empty + "/none/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := do(t, strings.Fields(c.args)...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"plan", "-h"}} {
		if out, err := do(t, args...); err != nil || !strings.Contains(out, "forwarder plan [flags]") || !strings.Contains(out, "--manifests") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	if out, err := do(t, "--version"); err != nil || !strings.HasPrefix(out, "forwarder ") || !strings.Contains(out, "go1.") {
		t.Errorf("%v: %q", err, out)
	}
}

func TestWriteConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if _, err := do(t, "--write-config-to="+file, "--cluster-cidr=10.0.0.0/8"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "clusterCIDR: 10.0.0.0/8") || !strings.Contains(string(text), "mode: auto") {
		t.Errorf("%v\n%s", err, text)
	}
}

// folder writes files into a new folder.
func folder(t *testing.T, files ...txtar.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Name)), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// understood has the tools check rules.
func understood(t *testing.T, rules string) {
	t.Helper()
	rules, iptables := strings.CutPrefix(rules, "# iptables-restore\n")
	if !iptables {
		nft(t, nil, rules, "-c", "-f", "-")
		return
	}
	four, six, _ := strings.Cut(rules, "# ip6tables-restore\n")
	for program, text := range map[string]string{"iptables-nft-restore": four, "ip6tables-nft-restore": six} {
		cmd := exec.Command(program, "--test", "--noflush")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
			t.Skipf("%v: install iptables", err)
		} else if err != nil {
			t.Errorf("%s: %v\n%s", program, err, out)
		}
	}
}

func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			var in []txtar.File
			var want *txtar.File
			for i, f := range archive.Files {
				switch {
				case f.Name == "args":
					args = strings.Fields(string(f.Data))
				case f.Name == "want":
					want = &archive.Files[i]
				default:
					in = append(in, f)
				}
			}
			got, err := do(t, append([]string{"plan", "--manifests=" + folder(t, in...)}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want.Data) {
				t.Errorf("got\n%s\nwant\n%s", got, want.Data)
			}
			_, rules, _ := strings.Cut(got, "\n\n")
			netlab.Need(t)
			understood(t, rules)
		})
	}
}
