package signpost

import (
	"fmt"
	"io"
	golog "log"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/test/api"
)

// logged starts a server and returns what was logged by the time that it serves.
func logged(t *testing.T, corefile string) string {
	t.Helper()
	var out lines
	golog.SetOutput(&out)
	defer golog.SetOutput(io.Discard) // as log_test.go has it
	i := start(t, corefile)
	stop(t, i)
	return out.String()
}

// What a Corefile of the plugin kubernetes leaves behind is an error where it turns off
// something without a word, and a line where it has no effect.
func TestBeside(t *testing.T) {
	dir := t.TempDir()
	resolv := filepath.Join(dir, "resolv.conf")
	writeFile(t, resolv, "search example.org\n")
	s := api.New(t)
	s.Put(apiService("web", "10.96.0.1"))
	for name, c := range map[string]struct{ before, zones, options, after, err, line string }{
		"autopath of kubernetes":       {before: "autopath @kubernetes", err: `want "autopath @signpost"`},
		"autopath for a zone":          {before: "autopath cluster.local @kubernetes", err: `want "autopath @signpost"`},
		"autopath of this plugin":      {before: "autopath @signpost"},
		"autopath of a file":           {before: "autopath " + resolv},
		"autopath of kubernetes there": {before: "autopath @kubernetes", after: "kubernetes example.org {\n endpoint " + s.URL + "\n}"},
		"kubernetes with our zone": {
			after: "kubernetes cluster.local {\n endpoint " + s.URL + "\n}",
			line:  "the plugin kubernetes serves cluster.local. in the same server block",
		},
		"kubernetes with another zone":       {after: "kubernetes example.org {\n endpoint " + s.URL + "\n}"},
		"kubernetes behind us":               {options: "fallthrough", after: "kubernetes cluster.local {\n endpoint " + s.URL + "\n}"},
		"fallthrough for a zone of no use":   {options: "fallthrough in-addr.arpa example.org", line: "option fallthrough: no name of example.org. is in a zone of this stanza (cluster.local. 10.in-addr.arpa.)"},
		"fallthrough for a part of a zone":   {options: "fallthrough shop.svc.cluster.local"},
		"fallthrough for a zone of external": {options: "fallthrough example.org\nexternal example.org"},
		"fallthrough for every zone":         {options: "fallthrough"},
		"a wildcard":                         {zones: "*.cluster.local", line: "zone *.cluster.local.: * stands for itself"},
	} {
		if raceEnabled && c.after != "" {
			continue // the setup of the plugin kubernetes writes a variable of klog that any watch before has read
		}
		t.Run(name, func(t *testing.T) {
			corefile := fmt.Sprintf(".:0 {\n bind 127.0.0.1\n %s\n signpost cluster.local 10.0.0.0/8 %s {\n endpoint %s\n %s\n}\n %s\n}", c.before, c.zones, s.URL, c.options, c.after)
			if c.err != "" {
				i, err := caddy.Start(input(corefile))
				if err == nil {
					stop(t, i)
				}
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one with %q", err, c.err)
				}
				if n := feedCount(); n != 0 {
					t.Errorf("%d feeds left", n)
				}
				return
			}
			text := logged(t, corefile)
			if warns := strings.Contains(text, "[WARNING] plugin/signpost"); warns != (c.line != "") || !strings.Contains(text, c.line) {
				t.Errorf("logged\n%s\nwant %q", text, c.line)
			}
		})
	}
}

// The log tells when the plugin was synced, and with how much.
func TestSyncIsLogged(t *testing.T) {
	s := api.New(t)
	s.Put(apiService("web", "10.96.0.1"), apiService("db", "10.96.0.2"))
	text := logged(t, ".:0 {\n bind 127.0.0.1\n signpost cluster.local {\n endpoint "+s.URL+"\n}\n}")
	for _, want := range []string{
		"[INFO] plugin/signpost: synced with endpoint " + s.URL + " after ", ": 2 services, 0 namespaces, 0 endpointslices; resourceVersion 3\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("logged\n%s\nwant %q once", text, want)
		}
	}
}

// A change of a name is seen at once behind a cache, which keeps everything else.
func TestCacheBypass(t *testing.T) {
	dir := t.TempDir()
	web := filepath.Join(dir, "web.yaml")
	writeFile(t, web, fmt.Sprintf(webManifest, "10.96.0.1"))
	i := start(t, fmt.Sprintf(".:0 {\n bind 127.0.0.1\n cache 3600\n signpost cluster.local in-addr.arpa {\n manifests %s\n fallthrough in-addr.arpa\n ttl 3600\n}\n}", dir))
	defer stop(t, i)
	for n := range 3 {
		ip := fmt.Sprintf("10.96.0.%d", n+1)
		writeFile(t, web, fmt.Sprintf(webManifest, ip))
		eventually(t, "the address "+ip, func() bool {
			m := lookup(t, i, "udp", "web.ns.svc.cluster.local.")
			return len(m.Answer) == 1 && strings.Contains(m.Answer[0].String(), ip)
		})
	}
}

// duck is what the plugin health does with its option lameduck: it holds up the end of
// the process while queries are still answered. Nil: there is no such plugin.
var duck chan struct{}

func init() {
	plugin.Register("duck", func(c *caddy.Controller) error {
		wait := duck
		c.OnFinalShutdown(func() error {
			<-wait
			return nil
		})
		return nil
	})
}

// The index follows the cluster until the last answer.
func TestLameduck(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	web := filepath.Join(dir, "web.yaml")
	writeFile(t, web, fmt.Sprintf(webManifest, "10.96.0.1"))
	duck = make(chan struct{})
	i := start(t, fmt.Sprintf(".:0 {\n duck\n signpost cluster.local {\n manifests %s\n}\n}", dir))
	serves(t, i)
	over := make(chan struct{})
	go func() {
		i.ShutdownCallbacks()
		close(over)
	}()
	for n := range 3 { // the first may be seen although the feed is about to end
		ip := fmt.Sprintf("10.96.0.%d", n+2)
		writeFile(t, web, fmt.Sprintf(webManifest, ip))
		eventually(t, "the new address", func() bool {
			m := lookup(t, i, "udp", "web.ns.svc.cluster.local.")
			return len(m.Answer) == 1 && strings.Contains(m.Answer[0].String(), ip)
		})
	}
	close(duck)
	<-over
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
	i.Wait()
	if n := feedCount(); n != 0 {
		t.Errorf("%d feeds left", n)
	}
}
