package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// A footprint is what a mode shows in the kernel: a command of a node, and a word in what it prints.
type footprint struct {
	command []string
	word    string
}

var footprints = map[string]footprint{
	"nftables": {[]string{"nft", "list", "tables"}, "table ip signpost\n"},
	"iptables": {[]string{"iptables-save"}, "KUBE-SVC-"}, // the chains that operators know
	"ipvs":     {[]string{"ipvsadm-save", "-n"}, "-A "},
}

func playModeIptables(s *scene) { s.thereAndBack("iptables") }

func playModeIPVS(s *scene) {
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		s.t.t.Skip("this kernel has no IPVS")
	}
	s.thereAndBack("ipvs")
}

// thereAndBack changes one word of the forwarders' configuration, and changes it back, under load. Nobody restarts
// anything: the forwarders see their new file.
func (s *scene) thereAndBack(mode string) {
	s.serve("web", 2, "")
	s.service("web")
	l := s.load("web")
	const usual = "nftables"
	s.t.cleanup(func() {
		if s.mode() != usual {
			s.setMode(usual)
		}
	})
	for _, step := range []struct{ mode, other string }{{mode, usual}, {usual, mode}} {
		s.setMode(step.mode)
		s.wantFootprint(step.mode, step.other)
		s.must("rollout", "status", system, forwarder, "--timeout=90s")
		// A Service that is made now is routed by the new rules.
		late := "late-" + step.mode
		s.service(late)
		s.serve(late, 1, "")
		vip := s.value("service/"+late, ".spec.clusterIP")
		s.everyPod("a Service that is made in mode "+step.mode, 1, func() []reply { return s.askFrom("n2", 3, "http://"+vip) })
		l.reach(1000)
		l.unharmed("switched to " + step.mode)
	}
}

// mode is what the ConfigMap says.
func (s *scene) mode() string {
	for line := range strings.Lines(s.must("get", system, "configmap/signpost-forwarder", "-o", `jsonpath={.data.config\.conf}`)) {
		if mode, ok := strings.CutPrefix(line, "mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}

// setMode changes it, and waits until every node says so.
func (s *scene) setMode(mode string) {
	text := s.must("get", system, "configmap/signpost-forwarder", "-o", `jsonpath={.data.config\.conf}`)
	text = strings.Replace(text, "mode: "+s.mode(), "mode: "+mode, 1)
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"config.conf": text}})
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	s.must("patch", system, "configmap/signpost-forwarder", "--type=merge", "-p", string(patch))
	for _, node := range nodeNames {
		// The kubelet brings a changed ConfigMap with its next look at the pod, and waits before it starts a
		// container again that has ended before.
		s.eventually(2*time.Minute, node+" is in mode "+mode, func() error {
			out, err := s.in(node, "curl", "-s", "-m", "3", "http://127.0.0.1:10249/proxyMode")
			if err != nil || out != mode {
				return fmt.Errorf("it says %q (%v)", out, err)
			}
			return nil
		})
	}
}

// wantFootprint waits until the rules on every node are those of a mode, and nothing is left of another.
func (s *scene) wantFootprint(mode, gone string) {
	for _, node := range nodeNames {
		s.eventually(patience, node+" has the rules of "+mode+" and none of "+gone, func() error {
			for name, want := range map[string]bool{mode: true, gone: false} {
				f := footprints[name]
				out, err := s.in(node, f.command...)
				if err != nil {
					return err
				}
				if strings.Contains(out, f.word) != want {
					return fmt.Errorf("%s shows %q: %v, want %v", strings.Join(f.command, " "), f.word, !want, want)
				}
			}
			return nil
		})
	}
}
