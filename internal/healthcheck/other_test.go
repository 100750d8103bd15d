package healthcheck

import (
	"fmt"
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
