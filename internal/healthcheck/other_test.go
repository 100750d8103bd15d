package healthcheck

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWrote(t *testing.T) {
	for _, c := range []struct {
		name            string
		queued, written []string // values, by family
		want            bool
	}{
		{"nothing yet", nil, nil, false},
		{"something to write", []string{"1.7e+09", "1.7e+09"}, nil, false},
		{"one family of two", []string{"1.7e+09", "1.7e+09"}, []string{"1.7e+09"}, false},
		{"both", []string{"1.7e+09", "1.7e+09"}, []string{"1.7e+09", "1.7e+09"}, true},
		{"zero is never", []string{"1.7e+09"}, []string{"0"}, false},
		{"a family that has nothing to write", []string{"1.7e+09", "0"}, []string{"1.7e+09", "0"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge\nother 1\n"
			for name, values := range map[string][]string{lastQueued: c.queued, lastWritten: c.written} {
				for i, v := range values {
					text += fmt.Sprintf("%sip_family=\"IPv%d\"} %s\n", name, 4+2*i, v)
				}
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/metrics" {
					fmt.Fprint(w, text)
				}
			}))
			defer s.Close()
			if got, err := Wrote(t.Context(), strings.TrimPrefix(s.URL, "http://")); err != nil || got != c.want {
				t.Errorf("%t, %v; want %t", got, err, c.want)
			}
		})
	}
	if _, err := Wrote(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("nobody answers, and that is no error")
	}
	if _, err := Wrote(t.Context(), ""); err == nil {
		t.Error("no address, and that is no error")
	}
}

// The pages of a forwarder say how it is configured. Those of another program do not, nor those of a process that is
// not to be believed.
func TestAsk(t *testing.T) {
	pages := Pages{Metrics: http.NotFoundHandler(), Config: func() any { return map[string]string{"mode": "nftables"} },
		Flags: map[string]string{"protected-node-ports": "[22,8472/udp]", "master": ""}}
	at := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	ours := at(named(pages.Handler()))
	var seen string
	got, err := Ask(t.Context(), ours, func(c net.Conn) error { seen = c.RemoteAddr().String(); return nil })
	if err != nil || string(got.Config) != `{"mode":"nftables"}` || got.Flags["protected-node-ports"] != "[22,8472/udp]" || seen != ours {
		t.Errorf("%s, %v, %v, of %s", got.Config, got.Flags, err, seen)
	}
	for name, c := range map[string]struct {
		at    string
		trust error
		want  string
	}{
		"another program": {at(pages.Handler()), nil, "got an answer of another program, want a forwarder"},
		"another user's":  {ours, errors.New("of user 7"), "of user 7"},
		"no JSON":         {at(named(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))), nil, "got no key kubeproxy.config.k8s.io, want JSON with it"},
		"no server":       {"127.0.0.1:1", nil, "refused"},
	} {
		if _, err := Ask(t.Context(), c.at, func(net.Conn) error { return c.trust }); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
