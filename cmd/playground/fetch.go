//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// How long one request may take, and within what a refusal came at once: without it a client would wait for the limit.
const (
	fetchLimit = 10 * time.Second
	atOnce     = 2 * time.Second
)

// runFetch is the program fetch: GET a URL, or send a datagram to one with the scheme udp, by the names of
// /etc/resolv.conf.
//
//	fetch [-json] [-n TIMES] URL
func runFetch(ctx context.Context, args []string, env environment) int {
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	flags.SetOutput(env.stderr)
	asJSON := flags.Bool("json", false, "expect the playground's pods, and print who they are as a JSON object")
	times := flags.Int("n", 1, "fetch so many `times`, each on a connection of its own")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		fmt.Fprintln(env.stderr, "usage: fetch [-json] [-n TIMES] URL")
		return exitUsage
	}
	var o outcome
	for range *times {
		began := time.Now()
		text, from, err := get(ctx, flags.Arg(0))
		o.As = from
		switch {
		case *asJSON && errors.Is(err, syscall.ECONNREFUSED) && time.Since(began) < atOnce:
			o.add("connection refused")
		case err != nil:
			fmt.Fprintln(env.stderr, "fetch:", err)
			return exitFailed
		case !*asJSON:
			fmt.Fprint(env.stdout, text)
		default:
			reply, err := netlab.ParseReply(text)
			if err != nil {
				fmt.Fprintln(env.stderr, "fetch:", err)
				return exitFailed
			}
			o.add(reply.Server)
		}
	}
	if *asJSON {
		json.NewEncoder(env.stdout).Encode(o)
	}
	return 0
}

// add notes an answer, once.
func (o *outcome) add(answer string) {
	if at, found := slices.BinarySearch(o.Answers, answer); !found {
		o.Answers = slices.Insert(o.Answers, at, answer)
	}
}

// get fetches a URL and tells at which address it was. It uses Go's own resolver, so that it behaves the same whatever C
// library the machine has.
func get(ctx context.Context, address string) (text, from string, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
		conn, err := dialer.DialContext(ctx, network, addr)
		if err == nil {
			from = conn.RemoteAddr().String()
		}
		return conn, err
	}
	if u, err := url.Parse(address); err == nil && u.Scheme == "udp" {
		conn, err := dial(ctx, "udp", u.Host)
		if err != nil {
			return "", "", err
		}
		defer conn.Close()
		text, err = netlab.AskUDP(ctx, conn)
		return text, from, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
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
		err = fmt.Errorf("get %s: status %s, expected 200 OK", address, resp.Status)
	}
	return string(body), from, err
}
