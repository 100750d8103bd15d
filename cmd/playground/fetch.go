//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// runFetch is the program fetch: GET a URL, by the names of /etc/resolv.conf.
//
//	fetch [-json] URL
func runFetch(ctx context.Context, args []string, env environment) int {
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	flags.SetOutput(env.stderr)
	asJSON := flags.Bool("json", false, "expect one of the playground's pods, and print who it is as a JSON object")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		fmt.Fprintln(env.stderr, "usage: fetch [-json] URL")
		return exitUsage
	}
	text, from, err := get(ctx, flags.Arg(0))
	if err != nil {
		fmt.Fprintln(env.stderr, "fetch:", err)
		return exitFailed
	}
	if !*asJSON {
		fmt.Fprint(env.stdout, text)
		return 0
	}
	reply, err := netlab.ParseReply(text)
	if err != nil {
		fmt.Fprintln(env.stderr, "fetch:", err)
		return exitFailed
	}
	json.NewEncoder(env.stdout).Encode(outcome{Answers: []string{reply.Server}, As: from})
	return 0
}

// get fetches a URL and tells at which address it was. It uses Go's own resolver, so that it behaves the same whatever C
// library the machine has.
func get(ctx context.Context, url string) (text, from string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err == nil {
				from = conn.RemoteAddr().String()
			}
			return conn, err
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: status %s, expected 200 OK", url, resp.Status)
	}
	return string(body), from, err
}
