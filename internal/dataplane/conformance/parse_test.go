//go:build linux

package conformance

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/vip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begun is the beginning of a scenario for statements that need one.
const begun = "scenario s\nservice web at cluster-ip-1 port 80/tcp\nhold 1 client cluster-ip-1:80\n"

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no scenario", "restart", "f.txt:1: restart: expected the name of a scenario first"},
		{"continues nothing", " restart", "f.txt:1: this line continues none"},
		{"no statement", begun + "dance", `f.txt:4: "dance": expected a statement: scenario, fails`},
		{"no name", "scenario", "f.txt:1: expected the name of the scenario"},
		{"the name twice", "scenario a\nscenario  a", `f.txt:2: there is a scenario "a" already`},
		{"too many words", begun + "restart now", `f.txt:4: "now": expected the end of the statement`},
		{"fails without under", begun + "fails lost", "f.txt:4: expected: fails under MUTANT…"},
		{"an unknown mutant", begun + "fails under godzilla", `f.txt:4: "godzilla": expected the name of a mutant: no-masquerade, `},
		{"no mutant", begun + "fails under", "f.txt:4: expected the names of mutants"},
		{"an unknown option", begun + "config fast", `f.txt:4: "fast": expected one of masquerade-all, no-pod-cidrs, `},
		{"a Service without a name", begun + "service", "f.txt:4: expected a name"},
		{"a Service without an address", begun + "service x port 80/tcp", "f.txt:4: service x: expected at ADDRESS… and a port"},
		{"a Service without a port", begun + "service x at cluster-ip-1", "f.txt:4: service x: expected at ADDRESS… and a port"},
		{"a Service without ClusterIP", begun + "service x at external-ip-1 port 80/tcp", `"external-ip-1": expected one cluster-ip-N, then`},
		{"two ClusterIPs", begun + "service x at cluster-ip-1 cluster-ip-2 port 80/tcp", `"cluster-ip-2": expected one cluster-ip-N, then`},
		{"a real address", begun + "service x at 10.96.0.1 port 80/tcp", `"10.96.0.1": expected one cluster-ip-N, then`},
		{"an address out of range", begun + "service x at cluster-ip-255 port 80/tcp", `"cluster-ip-255": expected one cluster-ip-N`},
		{"an address with a zero in front", begun + "service x at cluster-ip-01 port 80/tcp", `"cluster-ip-01": expected one cluster-ip-N`},
		{"a word that no Service has", begun + "service x with cluster-ip-1", `"with": expected one of at, families, created, internal, `},
		{"an unknown family", begun + "service x at cluster-ip-1 families ipv5 port 80/tcp", `"ipv5": expected ipv4 or ipv6`},
		{"created in no number", begun + "service x at cluster-ip-1 created soon port 80/tcp", `"soon": expected a number from 1 to 4294967295`},
		{"a port of 0", begun + "service x at cluster-ip-1 port 0/tcp", `"0": expected a number from 1 to 65535`},
		{"a port too high", begun + "service x at cluster-ip-1 port 65536/tcp", `"65536": expected a number from 1 to 65535`},
		{"a port without protocol", begun + "service x at cluster-ip-1 port 80", `"": expected tcp, udp or sctp`},
		{"no target port", begun + "service x at cluster-ip-1 port 80/tcp to", "expected the target port"},
		{"no NodePort", begun + "service x at cluster-ip-1 port 80/tcp node-port", "expected the NodePort"},
		{"no endpoints", begun + "service x at cluster-ip-1 port 80/tcp endpoints", "expected endpoints"},
		{"an unknown endpoint", begun + "endpoints web local-9", `"local-9": expected a pod or a node`},
		{"the outside as an endpoint", begun + "endpoints web outside", `"outside": expected a pod or a node`},
		{"an unknown mark", begun + "endpoints web local-1(tired)", `"tired": not known here`},
		{"an unknown policy", begun + "service x at cluster-ip-1 internal near port 80/tcp", "expected local"},
		{"an unknown network", begun + "service x at cluster-ip-1 sources mars port 80/tcp", `"mars": not known here`},
		{"an address that it cannot take", begun + "service x at cluster-ip-1 takes local-1 port 80/tcp", `"local-1": not known here`},
		{"a ClusterIP of the load balancer", begun + "service x at cluster-ip-1 proxied cluster-ip-1 port 80/tcp", `"cluster-ip-1": not known here`},
		{"a pause without a number", begun + "ask client tcp cluster-ip-1:80 -> local-1 kept, after lunch", `"lunch"`},
		{"an open mark", begun + "endpoints web local-1(unready", `"local-1(unready": expected HOST or HOST(MARK,…)`},
		{"an empty mark", begun + "endpoints web local-1()", `"": not known here`},
		{"an endpoint with a port", begun + "endpoints web local-1:80", `"local-1:80": expected HOST or HOST(MARK,…)`},
		{"endpoints of nothing", begun + "endpoints shop local-1", `"shop": expected the name of a Service that is there`},
		{"endpoints of a deleted Service", begun + "delete web\nendpoints web", `f.txt:5: "web": expected the name of a Service`},
		{"endpoints of a route", begun + "route r node-port:1/tcp pod=drop node=drop outside=drop\nendpoints r local-1", `"r": expected the name of a Service`},
		{"delete nothing", begun + "delete", "f.txt:4: expected a name"},
		{"delete what is not there", begun + "delete shop", `"shop": expected the name of a Service or route that is there`},
		{"what an earlier scenario made", begun + "scenario t\ndelete web", `f.txt:5: "web": expected the name of a Service`},
		{"a route with the name of a Service", begun + "route web node-port:1/tcp pod=drop node=drop outside=drop", `"web": there is a Service of this name`},
		{"a route at a pod", begun + "route r local-1:80/tcp pod=drop node=drop outside=drop", `"local-1": expected a virtual address or node-port`},
		{"a route without decisions", begun + "route r cluster-ip-1:80/tcp pod=drop node=drop", "expected outside=DECISION"},
		{"a route with an unknown decision", begun + "route r cluster-ip-1:80/tcp pod=maybe node=drop outside=drop", `"pod=maybe node=drop outside=drop": expected a policy that vip.Build makes`},
		{"a route without backends", begun + "route r cluster-ip-1:80/tcp pod=drop node=drop outside=drop to", "expected the backends"},
		{"a route to nowhere", begun + "route r cluster-ip-1:80/tcp pod=drop node=drop outside=drop to mars", `"mars": expected a pod or a node`},
		{"ask without an answer", begun + "ask client tcp cluster-ip-1:80", "f.txt:4: expected -> and an outcome"},
		{"ask without an outcome", begun + "ask client tcp cluster-ip-1:80 ->", "f.txt:4: expected an outcome"},
		{"an unknown client", begun + "ask nobody tcp cluster-ip-1:80 -> refused", `"nobody": expected a host that can ask`},
		{"an unknown protocol", begun + "ask client icmp cluster-ip-1:80 -> refused", `"icmp": expected tcp, udp or sctp`},
		{"an unknown destination", begun + "ask client tcp mars:80 -> refused", `"mars": expected a host or a virtual address`},
		{"any node as a destination", begun + "ask client tcp node-port:80 -> refused", "node-port:80: expected the name of a node"},
		{"a destination without a port", begun + "ask client tcp cluster-ip-1 -> refused", `"": expected a number from 1 to 65535`},
		{"an unknown outcome", begun + "ask client tcp cluster-ip-1:80 -> luck", `"luck": expected refused, dropped, untouched, or HOST…`},
		{"a source without backends", begun + "ask client tcp cluster-ip-1:80 -> kept", `"kept": expected refused, dropped, untouched, or HOST…`},
		{"backends without a source", begun + "ask client tcp cluster-ip-1:80 -> local-1 local-2", `"local-1 local-2": expected refused`},
		{"even nothing", begun + "ask client tcp cluster-ip-1:80 -> evenly", `"evenly": expected refused`},
		{"refused and more", begun + "ask client tcp cluster-ip-1:80 -> refused, evenly", `"refused": expected refused, dropped`},
		{"hold none", begun + "hold 0 client cluster-ip-1:80", `"0": expected a number from 1 to 1000`},
		{"nothing is held", begun + "held -> local-1 kept\nheld -> local-1 kept", `f.txt:5: "held": expected the name of a connection that is there`},
		{"held and refused", begun + "held -> refused", "f.txt:4: held: expected backends that answer"},
		{"a continued line has the number of its first", begun + "endpoints web\n\tlocal-1\n\tmars", `f.txt:4: "mars"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("f.txt", tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestScenariosReadBack prints every scenario and reads it again.
func TestScenariosReadBack(t *testing.T) {
	for _, s := range load(t) {
		again, err := parse(s.file, s.String())
		if err != nil || len(again) != 1 {
			t.Errorf("%s: %v\n%v", s.title(), err, s)
			continue
		}
		if diff := cmp.Diff(s, again[0], unexported, noLines); diff != "" {
			t.Errorf("%s: %s", s.title(), diff)
		}
	}
}

var (
	unexported = cmp.Exporter(func(reflect.Type) bool { return true })
	noLines    = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".line" }, cmp.Ignore())
)

// FuzzParse reads anything; what it accepts, it prints and accepts again, as the same.
func FuzzParse(f *testing.F) {
	for _, s := range load(f) {
		f.Add(s.String())
	}
	f.Add(begun + "endpoints web\n\tlocal-1(ipv4) # comment\nheld -> local-1:1 kept, local-2 local-3 masqueraded, evenly")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parse("f.txt", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.txt:") {
				t.Errorf("%v: no file and line", err)
			}
			return
		}
		var printed strings.Builder
		for _, s := range list {
			printed.WriteString(s.String())
		}
		again, err := parse("f.txt", printed.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, printed.String())
		}
		if diff := cmp.Diff(list, again, unexported, noLines); diff != "" {
			t.Error(diff)
		}
	})
}

// TestScenariosAreComplete: each names a fault under which it fails, each fault is named,
// and what the language has is used.
func TestScenariosAreComplete(t *testing.T) {
	if testing.Short() {
		t.Skip("with -short there are not all scenarios")
	}
	named, said := map[string]bool{}, map[string]bool{}
	for _, s := range load(t) {
		if len(s.failsUnder) == 0 {
			t.Errorf("%s: it names no fault under which it fails", s.title())
		}
		for _, name := range s.failsUnder {
			named[name] = true
		}
		for word := range strings.FieldsFuncSeq(s.String(), func(r rune) bool { return strings.ContainsRune(" \n(),=/", r) }) {
			said[word] = true
		}
	}
	for _, m := range mutants {
		if !named[m.name] {
			t.Errorf("no scenario fails under %s", m.name)
		}
	}
	for verb := range verbs {
		if !said[verb] {
			t.Errorf("no scenario uses %s", verb)
		}
	}
	words := []string{
		"families", "created", "node-port", "evenly", "refused", "dropped", "untouched", "kept", "masqueraded",
		"internal", "external", "affinity", "sources", "proxied", "one", "same", "after", "tcp", "udp", "sctp", "local-5", "remote-4", nodeSecond, "localhost",
	}
	for _, w := range configWords {
		words = append(words, w.word)
	}
	for name := range sourceNetworks {
		words = append(words, name)
	}
	for mark := range marks {
		words = append(words, mark)
	}
	for _, word := range words {
		if !said[word] && word != "" && word != "ipv6" && !slices.ContainsFunc(load(t), func(s scenario) bool { return strings.Contains(s.String(), word+":") }) {
			t.Errorf("no scenario uses %s", word)
		}
	}
	for p := range vip.Policies {
		if p != vip.AcceptAll && !slices.ContainsFunc(load(t), func(s scenario) bool { return strings.Contains(s.String(), p.String()) }) {
			t.Errorf("no scenario has a route with the policy %v", p)
		}
	}
}
