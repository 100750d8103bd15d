package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// relay listens on the machine's loopback and carries every connection to the API server, whose network the
// machine is no part of. Then it writes the kubeconfig for people: complete, with a client certificate.
func (s *supervisor) relay() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for kubectl: %w", err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.carry(c)
		}
	}()
	return s.ca.kubeconfig(s.place.file("kubeconfig"), "https://"+l.Addr().String(), "admin", "system:masters")
}

// carry joins one connection with the API server. When one direction ends the other may go on.
func (s *supervisor) carry(c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	api, err := s.control.dial(ctx, netip.AddrPortFrom(control.v4, apiPort).String())
	if err != nil {
		return // the caller sees a closed connection, as of a server that is down
	}
	defer api.Close()
	done := make(chan struct{})
	go func() {
		copyHalf(api, c)
		close(done)
	}()
	copyHalf(c, api)
	<-done
}

func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}

// client speaks with the API server from within its network; it needs no credentials for what is public.
func (s *supervisor) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.cert)
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return s.control.dial(ctx, address)
		},
	}}
}

// report is what the supervisor says of one process. Numbers of processes are those of its own pid namespace.
type report struct {
	Name    string    `json:"name"`
	Running bool      `json:"running"`
	Pid     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Network string    `json:"network,omitempty"` // of members: the path of the network namespace, inside
}

// reports tells of everything that the cluster runs, and of its networks.
func (s *supervisor) reports() []report {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []report{
		{Name: outsideName, Running: true, Pid: 1, Network: s.outside.path()},
		{Name: controlName, Running: true, Pid: 1, Network: s.control.path()},
	}
	for name, p := range s.processes {
		r := report{Name: name, Running: p.running(), Pid: p.cmd.Process.Pid, Since: p.started}
		if n := s.networks[name]; n != nil {
			r.Network = n.path()
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b report) int { return a.Since.Compare(b.Since) })
	return all
}

// serveControl answers the verbs of this command on a socket that only root can open.
func (s *supervisor) serveControl() error {
	l, err := net.Listen("unix", s.place.file("control.sock"))
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	answer := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reports", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, json.NewEncoder(w).Encode(s.reports()))
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, q *http.Request) {
		answer(w, s.stopNamed(q.URL.Query().Get("name")))
	})
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, q *http.Request) {
		answer(w, s.startNamed(q.URL.Query().Get("name")))
	})
	mux.HandleFunc("POST /load", func(w http.ResponseWriter, q *http.Request) {
		names, err := s.images.add(q.URL.Query().Get("archive"))
		if err == nil {
			err = json.NewEncoder(w).Encode(names)
		}
		answer(w, err)
	})
	go http.Serve(l, mux) //nolint:errcheck // it ends with the supervisor
	return nil
}
