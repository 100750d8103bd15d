package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// playMigration moves a cluster from kube-proxy and the plugin kubernetes to Signpost and back under load, by the
// commands of the README: no connection is lost.
func playMigration(s *scene) {
	ctx := context.Background()
	s.t.cleanup(func() {
		if err := s.c.fromPeer(ctx); err != nil {
			s.t.Errorf("back to what the other plays expect: %v", err)
		}
		s.replacedDNSEnds()
	})
	if err := s.c.toPeer(ctx); err != nil {
		s.t.Fatalf("%v", err)
	}
	// As a user has it, but for the half minute between two looks at the Corefile.
	s.sh(`kubectl -n kube-system get configmap coredns -o json | sed -E 's/ reload\\n/ reload 2s 1s\\n/' | kubectl replace -f -`)
	s.must("set", "image", system, "deployment/coredns", "coredns="+peerDNSImage)
	s.must("rollout", "status", system, "deployment/coredns", "--timeout=120s")

	s.serve("web", 3, "")
	s.service("web")
	l := s.load("web")
	// VIPs.
	s.follow("set image daemonset/kube-proxy")
	s.eventually(patience, "the rules of kube-proxy are gone", func() error { return s.tables("signpost", "kube-proxy") })
	l.reach(2000)
	l.unharmed("VIPs are Signpost's")

	// Names.
	s.follow("set image deployment/coredns")
	s.reloaded(func() { s.follow(`\1signpost /g`) })
	l.reachTotal(loadRequests)
	l.unharmed("names are, too")

	// And back.
	s.reloaded(func() { s.follow(`\1kubernetes /g`) })
	s.follow("rollout undo deployment/coredns")
	s.must("rollout", "status", system, "deployment/coredns", "--timeout=120s")
	s.replacedDNSEnds()
	l.unharmed("names are no more")
	for line := range strings.Lines(s.readme("rollout undo daemonset/kube-proxy")) {
		if !strings.Contains(line, "NODE") {
			s.sh(line)
			continue
		}
		for _, node := range nodeNames {
			s.sh(strings.ReplaceAll(line, "NODE", node))
		}
	}
	s.t.cleanup(func() { s.sh("kubectl get pods -o name | grep node-debugger | xargs kubectl delete") })
	s.eventually(patience, "our rules are gone", func() error { return s.tables("kube-proxy", "signpost") })
	l.reach(2000)
	l.unharmed("and back")
}

// replacedDNSEnds waits until no CoreDNS is left but those that serve.
func (s *scene) replacedDNSEnds() {
	s.eventually(patience, "the pods that were replaced have ended", func() error {
		if pods := strings.Fields(s.must("get", "pods", system, "-l", "k8s-app=kube-dns", "-o", "name")); len(pods) != 2 {
			return fmt.Errorf("there are %q", pods)
		}
		return nil
	})
}

// tables looks whether every node has the tables of one proxy, and none of the other.
func (s *scene) tables(here, gone string) error {
	for _, node := range nodeNames {
		out, err := s.in(node, "nft", "list", "tables")
		if err != nil || !strings.Contains(out, "table ip "+here+"\n") || strings.Contains(out, "table ip "+gone+"\n") {
			return fmt.Errorf("%s has, %v:\n%s", node, err, out)
		}
	}
	return nil
}

// reloaded waits until every CoreDNS has loaded the Corefile that f writes.
func (s *scene) reloaded(f func()) {
	const done = "Reloading complete"
	pods := strings.Fields(s.must("get", "pods", system, "-l", "k8s-app=kube-dns", "-o",
		"go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}"))
	before := map[string]int{}
	for _, p := range pods {
		before[p] = strings.Count(s.must("logs", system, p), done)
	}
	f()
	s.eventually(3*time.Minute, done, func() error {
		for _, p := range pods {
			if out := s.must("logs", system, p); strings.Count(out, done) <= before[p] {
				return fmt.Errorf("not in the log of %s:\n%s", p, lastLines(out, 5))
			}
		}
		return nil
	})
}

// follow runs the commands of the README that include a text.
func (s *scene) follow(text string) { s.sh(s.readme(text)) }

// readme finds the block of commands of the README that includes a text.
func (s *scene) readme(text string) string {
	b, err := os.ReadFile(filepath.Join(shipped, "README.md"))
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	var block []string
	for line := range strings.Lines(string(b) + "\n") {
		if command, is := strings.CutPrefix(strings.TrimRight(line, "\n"), "    "); is {
			block = append(block, strings.TrimSpace(command))
			continue
		}
		if all := strings.Join(block, "\n"); strings.Contains(all, text) {
			return all
		}
		block = nil
	}
	s.t.Fatalf("the README has no commands with %q", text)
	return ""
}

// sh runs commands at the top of the repository, as a user would, with kubectl at hand.
func (s *scene) sh(commands string) {
	cmd := exec.Command("sh", "-ec", commands)
	cmd.Dir = shipped
	cmd.Env = append(os.Environ(), "PATH="+s.c.bin+":"+os.Getenv("PATH"), "HOME="+s.c.place.file("home"), "KUBECONFIG="+s.c.place.file("kubeconfig"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", commands, err, out)
	}
	s.t.Logf("%s\n%s", commands, out)
}
