//go:build linux

package netlab

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Get asks for a page over HTTP from this host, by a connection of its own, and returns the code and the body. Without
// an answer the code is 0 and the body the reason.
func (h *Host) Get(ctx context.Context, url string) (code int, body string) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, err
			}
			return h.Dial(ctx, network, to)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}
