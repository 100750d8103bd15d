package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/signpost-dns/signpost/test/apiserver/child"
)

// etcdSocket is where etcd serves its client, the API server, below the server's directory. A socket in a
// private directory needs no port and is closed to other users.
const etcdSocket = "etcd.sock"

// startEtcd runs etcd. It is not waited for: the API server does that.
func (s *Server) startEtcd() (err error) {
	// Nobody dials the advertised and the peer addresses: this is a cluster of one.
	const nowhere = "http://127.0.0.1:0"
	s.etcd, err = child.Start(filepath.Join(s.assets, "etcd"), s.file("etcd.log"),
		"--name=test",
		"--data-dir="+s.file("etcd"),
		"--listen-client-urls=unix://"+s.file(etcdSocket),
		"--advertise-client-urls="+nowhere,
		"--listen-peer-urls="+nowhere,
		"--initial-advertise-peer-urls="+nowhere,
		"--initial-cluster=test="+nowhere,
		"--unsafe-no-fsync", // the data need not outlive the machine
		"--log-level=warn",
	)
	return err
}

// startAPI runs kube-apiserver and waits until it is ready.
func (s *Server) startAPI(ctx context.Context) error {
	var ranges []string
	for _, r := range s.ServiceCIDRs {
		ranges = append(ranges, r.String())
	}
	api, err := child.Start(filepath.Join(s.assets, "kube-apiserver"), s.file("kube-apiserver.log"),
		"--etcd-servers=unix://"+s.file(etcdSocket),
		"--bind-address="+s.addr.Addr().String(),
		fmt.Sprint("--secure-port=", s.addr.Port()),
		"--advertise-address="+s.addr.Addr().String(),
		"--endpoint-reconciler-type=none", // an endpoint may not be a loopback address
		"--service-cluster-ip-range="+strings.Join(ranges, ","),
		"--tls-cert-file="+s.file(servingCert),
		"--tls-private-key-file="+s.file(servingKey),
		"--client-ca-file="+s.CAFile,
		"--token-auth-file="+s.file(tokensFile),
		"--authorization-mode=RBAC",
		"--service-account-issuer="+serviceAccountIssuer,
		"--service-account-signing-key-file="+s.file(accountKey),
		"--service-account-key-file="+s.file(accountKey),
		"--allow-privileged=true",
		// End open watches at SIGTERM. Otherwise the server waits a minute for its clients to end them.
		"--shutdown-watch-termination-grace-period=10s",
		// Without controllers no namespace has the ServiceAccount that this plugin wants of every Pod.
		"--disable-admission-plugins=ServiceAccount",
	)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.ready(ctx, api); err != nil {
		api.Kill()
		return fmt.Errorf("%w\nthe end of its log:\n%s", err, api.Tail())
	}
	s.api = api
	return nil
}

// firstObjects are created by the API server itself, some a moment after it is ready.
var firstObjects = []string{
	"/readyz",
	"/api/v1/namespaces/default",
	"/api/v1/namespaces/kube-system",
	"/api/v1/namespaces/default/services/kubernetes",
}

// ready waits until every one of firstObjects is there.
func (s *Server) ready(ctx context.Context, api *child.Process) error {
	client := s.client()
	defer client.CloseIdleConnections()
	for _, path := range firstObjects {
		for {
			_, err := s.request(ctx, client, http.MethodGet, path, nil)
			if err == nil {
				break
			}
			select {
			case <-s.etcd.Exited():
				return fmt.Errorf("etcd ended: %v, the end of its log:\n%s", s.etcd.Err(), s.etcd.Tail())
			case <-api.Exited():
				return fmt.Errorf("kube-apiserver ended: %v", api.Err())
			case <-ctx.Done():
				return fmt.Errorf("wait for kube-apiserver: %w: %w", ctx.Err(), err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// client returns an HTTP client that trusts only the server's own authority.
func (s *Server) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca.pool()}, ForceAttemptHTTP2: true},
		Timeout:   30 * time.Second,
	}
}

// request sends one request as admin and returns the body of a 2xx answer.
func (s *Server) request(ctx context.Context, client *http.Client, method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return answer, nil
}

// file returns the path of a file of the server's directory.
func (s *Server) file(name string) string { return filepath.Join(s.dir.path, name) }
