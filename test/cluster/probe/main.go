// Command probe is what the pods of the end-to-end tests run: a server that says who it is and whom it sees, a
// client that prints what it was answered, and a constant load that counts what failed. It uses nothing but
// sockets: no Kubernetes, no library of this repository.
//
//	probe serve                      HTTP and UDP on port 8080: which pod, which client
//	probe get [-n 10] URL            one line of JSON for each answer or error
//	probe load -http URL -dns NAME   load until it is killed; counts at :9090/counts
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
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	verbs := map[string]func(context.Context, []string) error{"serve": serve, "get": get, "load": load}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: probe serve|get|load …")
		os.Exit(2)
	}
	if err := verbs[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// reply is what a server says, or why there was no answer.
type reply struct {
	Pod    string `json:"pod,omitempty"`    // the server's host name
	Client string `json:"client,omitempty"` // the address that it sees
	Error  string `json:"error,omitempty"`
}

// serve answers on TCP by HTTP and on UDP with the same text. It goes on for a moment after SIGTERM, as a
// server does that drains.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	address := flags.String("address", ":8080", "where to listen")
	if err := flags.Parse(args); err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", *address)
	if err != nil {
		return err
	}
	defer packets.Close()
	go servePackets(packets, name)
	server := &http.Server{Addr: *address, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		host, _, _ := net.SplitHostPort(q.RemoteAddr)
		_ = json.NewEncoder(w).Encode(reply{Pod: name, Client: host})
	})}
	go func() {
		<-ctx.Done()
		// Finishes what was begun; connections that are kept are closed after their next answer.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	return nil
}

func servePackets(packets net.PacketConn, name string) {
	b := make([]byte, 1500)
	for {
		_, from, err := packets.ReadFrom(b)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(from.String())
		text, _ := json.Marshal(reply{Pod: name, Client: host})
		_, _ = packets.WriteTo(text, from)
	}
}

// get asks n times, each time over a new connection, and prints the answers. It fails if none came. A URL of
// the scheme udp is asked by a packet.
func get(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	n := flags.Int("n", 1, "how often")
	timeout := flags.Duration("timeout", 3*time.Second, "of each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("get wants one URL")
	}
	good := 0
	for range *n {
		r := ask(ctx, flags.Arg(0), *timeout)
		if r.Error == "" {
			good++
		}
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
	}
	if good == 0 {
		return errors.New("no answer")
	}
	return nil
}

func ask(ctx context.Context, url string, timeout time.Duration) (r reply) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body []byte
	var err error
	const udp = "udp://"
	if len(url) > len(udp) && url[:len(udp)] == udp {
		body, err = exchange(ctx, url[len(udp):], []byte("?"))
	} else {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		body, err = fetch(ctx, client, url)
	}
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// fetch returns the body of an answer with the status 200.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return body, err
}

// exchange sends one packet and returns the first that comes back. Nothing is sent twice.
func exchange(ctx context.Context, address string, question []byte) ([]byte, error) {
	c, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	return b[:n], err
}
