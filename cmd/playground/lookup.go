//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// runLookup is the program lookup: a resolver as applications have one. It takes server and search list from
// /etc/resolv.conf.
//
//	lookup [-json] NAME [TYPE]
func runLookup(ctx context.Context, args []string, env environment) int {
	flags := flag.NewFlagSet("lookup", flag.ContinueOnError)
	flags.SetOutput(env.stderr)
	asJSON := flags.Bool("json", false, "print one JSON object, and count every answer as success")
	if err := flags.Parse(args); err != nil || flags.NArg() < 1 || flags.NArg() > 2 {
		fmt.Fprintln(env.stderr, "usage: lookup [-json] NAME [TYPE]")
		return exitUsage
	}
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	if flags.NArg() == 2 {
		t, ok := dns.StringToType[strings.ToUpper(flags.Arg(1))]
		if !ok {
			fmt.Fprintf(env.stderr, "lookup: %s is no record type: expected one such as A, AAAA, SRV or PTR\n", flags.Arg(1))
			return exitUsage
		}
		types = []uint16{t}
	}
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		fmt.Fprintln(env.stderr, "lookup: read /etc/resolv.conf:", err)
		return exitFailed
	}
	code := exitFailed
	for _, t := range types {
		found, err := resolve(ctx, config, flags.Arg(0), t)
		switch {
		case err != nil:
			fmt.Fprintln(env.stderr, "lookup:", err)
		case *asJSON:
			code = 0
			json.NewEncoder(env.stdout).Encode(found.outcome())
		default:
			if len(found.values) > 0 {
				code = 0
			}
			fmt.Fprint(env.stdout, found)
		}
	}
	return code
}

// found is what a name of the search list led to.
type found struct {
	name   string // the one that decided
	qtype  uint16
	server string
	values []string // right-hand sides, sorted
	reason string   // without values: NXDOMAIN, NODATA, SERVFAIL, …
}

func (f found) outcome() outcome {
	answers := f.values
	if len(answers) == 0 {
		answers = []string{f.reason}
	}
	return outcome{Answers: answers, As: f.name, From: f.server}
}

func (f found) String() string {
	var b strings.Builder
	for _, value := range f.values {
		fmt.Fprintf(&b, "%s %s %s\n", f.name, dns.TypeToString[f.qtype], value)
	}
	if len(f.values) == 0 {
		fmt.Fprintf(&b, "%s %s %s\n", f.name, dns.TypeToString[f.qtype], f.reason)
	}
	return b.String()
}

// resolve tries the names that the search list makes of a name, one after the other (resolv.conf(5), search and ndots).
// The first with records decides. If there is none, a name that exists without such records counts more than names
// that do not exist.
func resolve(ctx context.Context, config *dns.ClientConfig, name string, qtype uint16) (found, error) {
	var best found
	for _, full := range config.NameList(name) {
		reply, server, err := exchange(ctx, config, full, qtype)
		if err != nil {
			return found{}, err
		}
		f := read(reply, full, qtype)
		f.server = server
		if len(f.values) > 0 {
			return f, nil
		}
		if best.reason == "" || best.reason == "NXDOMAIN" {
			best = f
		}
	}
	return best, nil
}

// read takes the records of one type out of a reply.
func read(reply *dns.Msg, name string, qtype uint16) found {
	f := found{name: name, qtype: qtype, reason: "NODATA"}
	if reply.Rcode != dns.RcodeSuccess {
		f.reason = dns.RcodeToString[reply.Rcode]
	}
	for _, rr := range reply.Answer {
		if rr.Header().Rrtype == qtype {
			f.values = append(f.values, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	slices.Sort(f.values)
	return f
}

// exchange asks each server in turn, as often as the configuration says: by UDP, and by TCP what UDP had no room for.
func exchange(ctx context.Context, config *dns.ClientConfig, name string, qtype uint16) (*dns.Msg, string, error) {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	timeout := time.Duration(config.Timeout) * time.Second
	errs := []error{fmt.Errorf("ask for %s %s: no answer from %s", name, dns.TypeToString[qtype], strings.Join(config.Servers, ", "))}
	for range config.Attempts {
		for _, ip := range config.Servers {
			server := net.JoinHostPort(ip, config.Port)
			reply, _, err := (&dns.Client{Timeout: timeout}).ExchangeContext(ctx, query, server)
			if err == nil && reply.Truncated {
				reply, _, err = (&dns.Client{Net: "tcp", Timeout: timeout}).ExchangeContext(ctx, query, server)
			}
			if err == nil {
				return reply, server, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, "", errors.Join(errs...)
}
