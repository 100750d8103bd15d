//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFailures runs playgrounds in which something is wrong: each must end with another code than 0 and say what it is.
func TestFailures(t *testing.T) {
	p := newPlay(t)
	script := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "coredns")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name      string
		coredns   string // text of a script instead of the real one
		forwarder string // likewise
		args      []string
		dir       string
		env       []string
		code      int
		want      []string // in this order, standard output before standard error
	}{
		{
			name: "coredns does not start", coredns: "echo no way; exit 3", code: 1,
			want: []string{"pod coredns ended before it was ready: exit status 3", "no way"},
		},
		{
			name: "coredns tells something else",
			coredns: `printf '.:53 {\n ready\n template IN A {\n answer "{{ .Name }} 5 IN A 127.0.0.1"\n }\n}\n' >other; exec ` +
				`"$COREDNS" -conf other`,
			code: 1,
			want: []string{
				"FAIL  1  A Service is found by its name", "asked     lookup web A, in the client", "expected  10.96.0.80",
				"came      127.0.0.1 (asked as web.default.svc.cluster.local., answered by 10.96.0.10:53)", "steps failed.",
			},
		},
		{
			// It is killed when the Deployment is scaled, in the middle of the walk.
			name:    "coredns dies on the way",
			coredns: `"$COREDNS" "$@" & until [ "$(ls manifests | grep -c ^pod.default.web)" -ge 6 ]; do :; done; kill -9 $!; exit 5`,
			code:    1, want: []string{"FAIL", "came      an error: coredns has ended: exit status 5", "steps failed."},
		},
		{
			name: "a forwarder does not start", forwarder: "echo no rules; exit 4", code: 1,
			want: []string{"the forwarder of node-1 ended before it routed: exit status 4", "no rules"},
		},
		{name: "no such coredns", args: []string{"-coredns", "/no/such/file"}, code: 1, want: []string{"-coredns /no/such/file: expected a program"}},
		{name: "no clone", dir: "/", code: 1, want: []string{"no module " + modulePath}},
		{name: "no go command", env: []string{"PATH=/nowhere"}, code: 1, want: []string{"no go command", "-coredns FILE"}},
		{name: "a flag that is not there", args: []string{"-no-such"}, code: 2, want: []string{"-no-such", "usage:"}},
		{name: "a command without dashes", args: []string{"ls"}, code: 2, want: []string{`unexpected argument "ls"`, "usage:"}},
		{name: "refused", env: []string{playEnv + "=refused"}, code: 1, want: []string{"user.max_net_namespaces is 0", "way round"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := p.command(t, tt.args...)
			if tt.coredns != "" {
				cmd = p.command(t, "-coredns", script(t, tt.coredns))
			}
			if tt.forwarder != "" {
				cmd = p.command(t, "-coredns", p.coredns, "-forwarder", script(t, tt.forwarder))
			}
			if tt.dir != "" {
				cmd.Dir = tt.dir
			}
			cmd.Env = append(append(cmd.Env, "COREDNS="+p.coredns), tt.env...)
			out, errs, code := p.run(t, cmd)
			text := out + errs
			if code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, text)
			}
			for rest := text; len(tt.want) > 0; tt.want = tt.want[1:] {
				_, after, ok := strings.Cut(rest, tt.want[0])
				if !ok {
					t.Fatalf("%q does not come in\n%s", tt.want[0], text)
				}
				rest = after
			}
		})
	}
}
