// Package apiserver runs a real Kubernetes API server for a test: etcd and kube-apiserver as child
// processes on the loopback interface, with certificates of their own, RBAC, and dual-stack Services.
//
//	server := apiserver.Start(t)
//	server.Kubectl(t, "apply", "-f", "testdata/objects.yaml")
//
// The API server validates, defaults, allocates and watches as in a cluster. There is nothing behind it: no
// controller writes EndpointSlices or empties deleted namespaces, no scheduler and no kubelet runs Pods.
//
// Servers of parallel tests and packages do not meet: each has a loopback address and a temporary
// directory of its own. The children end with the test or, however the test binary dies, with its process.
// Tests need neither root nor a network.
//
// The package is a harness. It must not import Kubernetes, know what is being tested, or be imported by
// code that ships.
package apiserver

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/test/apiserver/child"
)

const (
	// startTimeout bounds the start of the servers. It takes about 3 seconds on an idle machine.
	startTimeout = 3 * time.Minute
	// stopTimeout is how long a server may take to end by itself.
	stopTimeout = 20 * time.Second
)

// Server is a running etcd and kube-apiserver. Its fields do not change. Its methods may be called from the
// test's own goroutine only; each takes the (sub)test that calls it, which fails where the method cannot do
// its work.
type Server struct {
	// URL is the base address, https://127.x.y.z:port. It stays the same over restarts.
	URL string
	// Kubeconfig is a file for the user admin, who may do everything, by a bearer token.
	Kubeconfig string
	// CAFile, CertFile and KeyFile are PEM files: the authority that signed the server's certificate, and a
	// client certificate for the user admin.
	CAFile, CertFile, KeyFile string
	// ServiceCIDRs are the ranges that ClusterIPs come from, IPv4 first.
	ServiceCIDRs []netip.Prefix

	assets string // directory of the programs
	dir    *directory
	addr   netip.AddrPort
	token  string // of the user admin
	ca     *authority

	etcd *child.Process
	api  *child.Process // the newest
	down bool           // api was ended by Stop or Kill
}

// Start runs an API server until the test ends and returns when it is ready: /readyz is ok and the first
// namespaces and the Service default/kubernetes exist. The programs come from the directory
// $KUBEBUILDER_ASSETS or from the cache that test/cluster builds; without them the test is skipped or, where
// CI=true, they are built. A failed test logs the end of what the servers said.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := launch(t.Context(), assets(t))
	if err != nil {
		t.Fatalf("start an API server: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of etcd's log:\n%s", s.etcd.Tail())
			t.Logf("the end of kube-apiserver's log:\n%s", s.api.Tail())
		}
		if err := s.close(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	return s
}

// launch starts the servers with the programs of a directory.
func launch(ctx context.Context, assets string) (*Server, error) {
	addr, err := child.Loopback()
	if err != nil {
		return nil, err
	}
	dir, err := newDirectory()
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:          "https://" + addr.String(),
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
		assets:       assets,
		dir:          dir,
		addr:         addr,
	}
	if err := s.run(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// run fills the server's directory and starts both programs.
func (s *Server) run(ctx context.Context) error {
	if err := s.writeCredentials(); err != nil {
		return err
	}
	if err := s.startEtcd(); err != nil {
		return err
	}
	return s.startAPI(ctx)
}

// close ends both servers and removes their files.
func (s *Server) close() error {
	var err error
	if s.api != nil {
		err = s.api.Stop(stopTimeout)
	}
	if s.etcd != nil {
		s.etcd.Kill() // its data is thrown away: there is nothing to save
	}
	return errors.Join(err, s.dir.remove())
}

// Stop asks the API server to end, as a rolling upgrade does, and waits until it has. etcd, and with it
// every object, stays. Clients get "connection refused" until Restart.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.down {
		t.Fatal("stop the API server: it is not running")
	}
	if err := s.api.Stop(stopTimeout); err != nil {
		t.Fatalf("stop the API server: %v", err)
	}
	s.down = true
}

// Kill ends the API server without warning, as a crash does. Open connections are reset. etcd stays.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.down {
		t.Fatal("kill the API server: it is not running")
	}
	s.api.Kill()
	s.down = true
}

// Restart starts the API server again after Stop or Kill, at the same URL, and returns when it is ready.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if !s.down {
		t.Fatal("restart the API server: it is running; Stop or Kill it first")
	}
	if err := s.startAPI(t.Context()); err != nil {
		t.Fatalf("restart the API server: %v", err)
	}
	s.down = false
}
