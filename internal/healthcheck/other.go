package healthcheck

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// serverName is our Server header. It distinguishes us from other proxies.
const serverName = "signpost-forwarder"

// named sets the Server header on all responses of a handler.
func named(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", serverName)
		h.ServeHTTP(w, r)
	})
}

// Other reports whether another proxy, such as kube-proxy, serves /healthz at an address (on
// loopback, if the address is unspecified). A server whose response is not that of a proxy
// does not count.
func Other(ctx context.Context, addr string) bool {
	header, body, err := getPage(ctx, addr, "/healthz", nil)
	return err == nil && header.Get("Server") != serverName && strings.Contains(body, `"lastUpdated"`)
}

// Names of kube-proxy's metrics with a value per family: the time of the last pending change,
// and the time of the last write.
const (
	lastQueued  = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{"
	lastWritten = "kubeproxy_sync_proxy_rules_last_timestamp_seconds{"
)

// Wrote reports whether the proxy with metrics at an address has written rules since its
// start, for every family that had changes. Its /healthz does not show that: it reports
// healthy from the start.
func Wrote(ctx context.Context, addr string) (bool, error) {
	_, body, err := getPage(ctx, addr, "/metrics", nil)
	if err != nil {
		return false, err
	}
	queued, written := 0, 0
	for line := range strings.Lines(body) {
		switch value := line[strings.LastIndexByte(line, ' ')+1:]; {
		case strings.TrimSpace(value) == "0":
		case strings.HasPrefix(line, lastQueued):
			queued++
		case strings.HasPrefix(line, lastWritten):
			written++
		}
	}
	return written > 0 && written >= queued, nil
}

// getPage gets a page from a server on this machine. trust, which may be nil, checks the connection after the
// response, while the connection is open.
func getPage(ctx context.Context, addr, page string, trust func(net.Conn) error) (http.Header, string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
		if err == nil && a.Is6() {
			host = "::1"
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+page, nil)
	if err != nil {
		return nil, "", err
	}
	var conn net.Conn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	answer, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && trust != nil {
		err = trust(conn)
	}
	return answer.Header, string(body), err
}
