package hostile

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/test/api"
)

// An accident is one thing that happens to a forwarder. Where it says a mode, it happens in that mode only.
type accident struct {
	name, mode string
	do         func(l *loop)
}

var accidents = []accident{
	{"objects change", "", func(l *loop) { l.change() }},
	{"the tenant goes", "", func(l *loop) { l.tenant.clear() }},
	{"kill -9", "", func(l *loop) {
		l.run.Kill()
		l.again()
	}},
	{"kill -9 while objects change", "", func(l *loop) {
		l.change()
		l.run.Kill()
		l.change()
		l.again()
	}},
	{"kill -9 of one that begins", "", func(l *loop) {
		l.run.Kill()
		for range 3 {
			l.change()
			l.again()
			l.pause()
			l.run.Kill()
		}
		l.again()
	}},
	{"SIGTERM", "", func(l *loop) {
		l.run.Signal(unix.SIGTERM)
		l.ends()
		l.again()
	}},
	{"another program flushes the ruleset", "", func(l *loop) { l.foreign(func() { _, _ = l.tool("nft", "flush", "ruleset") }) }},
	{"another program deletes the table", "nftables", func(l *loop) {
		l.foreign(func() { _, _ = l.tool("nft", "delete", "table", "ip", "signpost") })
	}},
	{"another program edits the table", "nftables", func(l *loop) { l.foreign(l.edit) }},
	{"the ruleset is flushed while no forwarder runs", "", func(l *loop) { l.orphaned(func() { l.must("nft", "flush", "ruleset") }) }},
	{"the table is edited while no forwarder runs", "nftables", func(l *loop) { l.orphaned(l.edit) }},
	{"iptables -t nat -F", "iptables", func(l *loop) { l.foreign(func() { l.must("iptables", "-t", "nat", "-F") }) }},
	{"iptables -t nat -F and -X", "iptables", func(l *loop) {
		l.foreign(func() { l.must("iptables", "-t", "nat", "-F"); l.must("iptables", "-t", "nat", "-X") })
	}},
	{"another mode", "", func(l *loop) { l.switchMode() }},
	{"another mode, and kill -9", "", func(l *loop) {
		l.switchMode()
		l.pause()
		l.run.Kill()
		l.again()
	}},
	{"the API is away", "", func(l *loop) { l.trouble(l.api.Stop, l.api.Start) }},
	{"the API refuses", "", func(l *loop) {
		l.trouble(func() { l.api.Refuse(500); l.api.DropConnections() }, func() { l.api.Refuse(0) })
	}},
	{"the API has forgotten its history", "", func(l *loop) {
		l.trouble(func() { l.api.Expire(); l.api.FailWatches(410) }, func() {})
	}},
	{"the API hangs", "", func(l *loop) {
		l.trouble(func() { l.intercept(http.HandlerFunc(api.Hang)) }, func() { l.intercept(nil) })
	}},
	{"the API answers with something else", "", func(l *loop) {
		text := pick(l.dice, "", "<html>", "{}", `{"kind":"Status"}`, "k8s\x00\x0a\x0c\x0a\x02v1")
		kind := pick(l.dice, "application/json", "text/html", "application/vnd.kubernetes.protobuf")
		l.trouble(func() {
			l.intercept(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				_, _ = io.WriteString(w, text)
			}))
		}, func() { l.intercept(nil) })
	}},
}

// intercept has all requests answered so, those that run now too.
func (l *loop) intercept(h http.Handler) {
	l.api.Intercept(h)
	l.api.DropConnections()
}

// trouble begins something with the API, changes objects meanwhile and ends it.
func (l *loop) trouble(begin, end func()) {
	begin()
	l.change()
	l.pause()
	end()
}

// foreign does what another program does beside a forwarder. Where the kernel protects its rules nothing may be lost.
func (l *loop) foreign(do func()) {
	l.Helper()
	if l.mode != "nftables" || !ownersProtect() {
		l.excused(do)
		return
	}
	// The kernel protects nothing before a forwarder that has just started adopts the table.
	l.eventually("the forwarder owns its table", func() error {
		listing, err := l.tool("nft", "list", "table", "ip", "signpost")
		if err == nil && !hasOwner.MatchString(listing) {
			err = fmt.Errorf("no owner in %.200s", listing)
		}
		return err
	})
	do()
}

var hasOwner = regexp.MustCompile(`(?m)^\tflags .*\bowner\b`)

// orphaned does what another program does while no forwarder runs.
func (l *loop) orphaned(do func()) {
	l.Helper()
	l.excused(func() {
		l.run.Kill()
		do()
		l.change()
		l.again()
	})
}

// ownersProtect reports whether the kernel keeps a table from others than its owner also when these have gone: Linux 6.9.
func ownersProtect() bool {
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return false
	}
	_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 9
}

// edit changes one thing in the table of IPv4. The kernel may refuse.
func (l *loop) edit() {
	l.Helper()
	listing, err := l.tool("nft", "-a", "list", "table", "ip", "signpost")
	if err != nil {
		l.Fatal(err)
	}
	chain, edits := "", [][]string{}
	for line := range strings.Lines(listing) {
		words := strings.Fields(line)
		if begins := blockBegins.FindStringSubmatch(line); begins != nil {
			chain = ""
			if begins[1] == "chain" {
				chain = begins[2]
				edits = append(edits, []string{"insert", "rule", "ip", "signpost", chain, "drop"}, []string{"flush", "chain", "ip", "signpost", chain})
			} else {
				edits = append(edits, []string{"flush", begins[1], "ip", "signpost", begins[2]})
			}
		} else if at := strings.LastIndex(line, "# handle "); at > 0 && chain != "" {
			edits = append(edits, []string{"delete", "rule", "ip", "signpost", chain, "handle", words[len(words)-1]})
		}
	}
	if len(edits) == 0 {
		l.Fatalf("nothing to edit in\n%s", listing)
	}
	edit := pick(l.dice, edits...)
	_, err = l.tool("nft", edit...)
	l.tenant.say("nft %s: %v", strings.Join(edit, " "), err)
}

var blockBegins = regexp.MustCompile(`^\t(chain|set|map) (\S+) \{`)

// switchMode goes to the other mode, as an operator does who edits the ConfigMap, and starts the forwarder again where it ends
// for that. One that has only begun may read the new one at once.
func (l *loop) switchMode() {
	l.Helper()
	mode := map[string]string{"nftables": "iptables", "iptables": "nftables"}[l.mode]
	l.tenant.say("mode %s", mode)
	l.configure(mode)
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		select {
		case <-l.run.Done():
			l.start()
		default:
		}
		_, is := l.node.Get(l.Context(), "http://127.0.0.1:10249/proxyMode")
		if is == mode {
			return
		}
		if time.Since(begin) > patience {
			_, text := l.run.logged()
			l.Fatalf("the mode is %q after %v, want %s:\n%s", is, patience, mode, text)
		}
	}
}
