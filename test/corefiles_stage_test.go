//go:build linux

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy/caddyfile"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// stageEnv carries a stage, as JSON, into the sandbox.
const stageEnv = "SIGNPOST_TEST_STAGE"

// A stage is what a coredns process finds around it, and what must come of it:
// the container of the manifests, in a sandbox.
type stage struct {
	Binary    string
	Args      []string
	Dir       string            // where the process starts
	Files     map[string]string // below /etc/coredns
	Rights    []string          // what the API grants, as "verb group/resource"
	TTL       uint32            // of the first answer
	Ask       []ask
	Patience  time.Duration // bounds each wait, of well under a second on an idle machine
	JustStart bool          // only see that it serves; the ports are those of the Corefile
}

// An ask is a question with its answer: the data of one record, or a response code.
type ask struct{ Name, Type, Want string }

// TestStage plays a stage inside the sandbox. It is no test by itself: TestCorefiles
// runs it there, with the stage in the environment.
func TestStage(t *testing.T) {
	script, ok := os.LookupEnv(stageEnv)
	if !ok {
		return
	}
	var s stage
	if err := json.Unmarshal([]byte(script), &s); err != nil {
		t.Fatal(err)
	}
	run, err := filepath.EvalSymlinks("/var/run") // /run nearly everywhere
	if err != nil {
		t.Fatal(err)
	}
	cover(t, "/etc", run)
	// This name server does not exist: what is forwarded there fails, as on a
	// machine that is cut off.
	writeFiles(t, "/etc", map[string]string{"resolv.conf": "nameserver 192.0.2.53\n"})
	writeFiles(t, "/etc/coredns", s.Files)
	g := startAPI(t, s.Rights)
	ended := s.start(t, g)
	if s.JustStart {
		err = s.serves(ended)
	} else {
		err = s.answersRightly(ended, g)
	}
	if err != nil {
		t.Error(err)
	}
}

// start runs coredns until the test ends; the channel is closed when it has ended.
func (s stage) start(t *testing.T, g *guard) <-chan struct{} {
	t.Helper()
	cmd := exec.Command(s.Binary, s.Args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"KUBERNETES_SERVICE_HOST=" + g.host, "KUBERNETES_SERVICE_PORT=" + g.port}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() // no lame-duck period: the sandbox ends with it
		<-ended
	})
	return ended
}

// cover hides folders of the machine behind empty ones, in this mount namespace.
func cover(t *testing.T, dirs ...string) {
	t.Helper()
	if !netlab.Inside() {
		t.Fatal("this must not happen outside of a sandbox")
	}
	for _, dir := range dirs {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatalf("cover %s: %v", dir, err)
		}
	}
}

// answersRightly waits until coredns is ready and then asks everything.
func (s stage) answersRightly(ended <-chan struct{}, g *guard) error {
	err := s.wait(ended, func() error {
		if err := g.excess(); err != nil {
			return hopeless{err}
		}
		return fetch("http://127.0.0.1:8181/ready", "OK")
	})
	if err != nil {
		return errors.Join(err, g.unused())
	}
	// ready answers before the server listens for DNS.
	for _, network := range []string{"udp", "tcp"} {
		if err := s.wait(ended, func() error { return answers(network, "53", "cluster.local.") }); err != nil {
			return err
		}
	}
	err = errors.Join(
		fetch("http://127.0.0.1:8080/health", "OK"),
		fetch("http://127.0.0.1:9153/metrics", "coredns_build_info"),
	)
	for i, a := range s.Ask {
		for _, network := range []string{"udp", "tcp"} {
			ttl := s.TTL
			if i > 0 || network != "udp" {
				ttl = 0 // a cache may have it by now
			}
			err = errors.Join(err, a.check(network, ttl))
		}
	}
	// The last right that is used is to watch: give the watches time to begin.
	return errors.Join(err, s.wait(ended, g.unused), g.excess())
}

// hopeless is an error that no waiting will mend.
type hopeless struct{ error }

// wait tries until something holds or cannot hold any more, the process has
// ended, or patience has.
func (s stage) wait(ended <-chan struct{}, try func() error) error {
	deadline := time.Now().Add(s.Patience)
	for {
		err := try()
		if _, final := err.(hopeless); err == nil || final {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", s.Patience, err)
		}
		select {
		case <-ended:
			return errors.Join(errors.New("coredns has ended"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fetch reads a page that must be there and hold some text.
func fetch(url, want string) error {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		return fmt.Errorf("%s: %s %.100q %v, expected 200 with %q", url, r.Status, body, err, want)
	}
	return nil
}

// check asks once. A ttl of 0 is not looked at.
func (a ask) check(network string, ttl uint32) error {
	r, err := exchange(network, "127.0.0.1:53", a.Name, dns.StringToType[a.Type])
	if err != nil {
		return fmt.Errorf("%s %s by %s: %w", a.Name, a.Type, network, err)
	}
	got := dns.RcodeToString[r.Rcode]
	if len(r.Answer) > 0 {
		rr := r.Answer[0]
		got = strings.TrimPrefix(rr.String(), rr.Header().String())
		if ttl != 0 && rr.Header().Ttl != ttl {
			return fmt.Errorf("%s %s: TTL %d, expected %d", a.Name, a.Type, rr.Header().Ttl, ttl)
		}
	}
	if got != a.Want {
		return fmt.Errorf("%s %s by %s: %s, expected %s", a.Name, a.Type, network, got, a.Want)
	}
	return nil
}

func exchange(network, server, name string, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := client.Exchange(m, server)
	return r, err
}

// answers asks for the apex of a zone; any response will do.
func answers(network, port, zone string) error {
	_, err := exchange(network, net.JoinHostPort("127.0.0.1", port), dns.Fqdn(zone), dns.TypeSOA)
	return err
}

// serves waits until every server block of the Corefile gives some answer.
func (s stage) serves(ended <-chan struct{}) error {
	data, err := caddyfile.ToJSON([]byte(s.Files["Corefile"]))
	if err != nil {
		return err
	}
	var blocks []struct{ Keys []string }
	if err := json.Unmarshal(data, &blocks); err != nil {
		return err
	}
	for _, b := range blocks {
		for _, key := range b.Keys {
			zone, port, found := strings.Cut(key, ":")
			if !found {
				port = "53"
			}
			if err := s.wait(ended, func() error { return answers("udp", port, zone) }); err != nil {
				return err
			}
		}
	}
	return nil
}
