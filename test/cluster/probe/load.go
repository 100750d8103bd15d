package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// counts is what a load has done so far, by kind: dns, short, kept.
type counts struct {
	Requests map[string]int `json:"requests"`
	Failures map[string]int `json:"failures"`
	Errors   []string       `json:"errors"` // the first of them, with their time
}

// tally collects from all workers.
type tally struct {
	mu sync.Mutex
	c  counts
}

const errorsKept = 20

func (t *tally) add(kind string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.c.Requests[kind]++
	if err == nil {
		return
	}
	t.c.Failures[kind]++
	if len(t.c.Errors) < errorsKept {
		t.c.Errors = append(t.c.Errors, fmt.Sprintf("%s %s: %v", time.Now().Format(time.TimeOnly), kind, err))
	}
}

func (t *tally) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = json.NewEncoder(w).Encode(t.c)
}

// load asks at a constant rate until it is killed: names by DNS, a URL over a new connection for each request
// (short) and over connections that stay (kept). An error counts and nothing is asked again, but what every HTTP
// client repeats: a request on a kept connection that the server had closed meanwhile.
func load(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	url := flags.String("http", "", "URL to fetch")
	name := flags.String("dns", "", "full name to look up")
	every := flags.Duration("every", 5*time.Millisecond, "pause of each worker between two requests")
	timeout := flags.Duration("timeout", 4*time.Second, "of each request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t := &tally{c: counts{Requests: map[string]int{}, Failures: map[string]int{}, Errors: []string{}}}
	var workers sync.WaitGroup
	worker := func(kind string, once func(context.Context) error) {
		workers.Go(func() {
			for tick := time.NewTicker(*every); ctx.Err() == nil; <-tick.C {
				c, cancel := context.WithTimeout(ctx, *timeout)
				err := once(c)
				cancel()
				if ctx.Err() == nil {
					t.add(kind, err)
				}
			}
		})
	}
	if *name != "" {
		server, err := nameserver()
		if err != nil {
			return err
		}
		worker("dns", func(ctx context.Context) error { return resolve(ctx, server, *name) })
	}
	if *url != "" {
		short := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		worker("short", func(ctx context.Context) error { _, err := fetch(ctx, short, *url); return err })
		kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}}
		worker("kept", func(ctx context.Context) error { _, err := fetch(ctx, kept, *url); return err })
	}
	mux := http.NewServeMux()
	mux.Handle("/counts", t)
	server := &http.Server{Addr: ":9090", Handler: mux}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	err := server.ListenAndServe()
	workers.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// nameserver is the first one of /etc/resolv.conf.
func nameserver() (string, error) {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "nameserver "); ok {
			return strings.TrimSpace(address) + ":53", nil
		}
	}
	return "", errors.New("no nameserver in /etc/resolv.conf")
}

// resolve asks for the IPv4 addresses of a name, with one packet, and wants at least one.
func resolve(ctx context.Context, server, name string) error {
	question, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return err
	}
	id := uint16(time.Now().UnixNano())
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: question, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packet, err := m.Pack()
	if err != nil {
		return err
	}
	answer, err := exchange(ctx, server, packet)
	if err != nil {
		return err
	}
	if err := m.Unpack(answer); err != nil {
		return err
	}
	if m.ID != id || m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) == 0 {
		return fmt.Errorf("%s: %v, %d answers", name, m.RCode, len(m.Answers))
	}
	return nil
}
