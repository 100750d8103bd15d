package apiserver

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Files of the server's directory.
const (
	caFile      = "ca.crt"
	servingCert = "serving.crt"
	servingKey  = "serving.key"
	accountKey  = "service-account.key"
	tokensFile  = "tokens.csv"
)

// serviceAccountIssuer is also the audience of the tokens that the server takes (kube-apiserver's
// --api-audiences defaults to it).
const serviceAccountIssuer = "https://kubernetes.default.svc"

// writeCredentials makes the authority and every file that the servers and admin need.
func (s *Server) writeCredentials() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	s.ca = ca
	serving, err := ca.server([]net.IP{s.addr.Addr().AsSlice()}, []string{"localhost", "kubernetes.default.svc"})
	if err != nil {
		return err
	}
	admin, err := ca.client("admin", []string{"system:masters"})
	if err != nil {
		return err
	}
	_, account, err := newKey()
	if err != nil {
		return fmt.Errorf("make the key of the service accounts: %w", err)
	}
	s.token = rand.Text()
	s.CAFile, s.CertFile, s.KeyFile = s.file(caFile), s.file("admin.crt"), s.file("admin.key")
	s.Kubeconfig = s.file("admin.kubeconfig")
	for path, content := range map[string][]byte{
		s.CAFile:            ca.pem,
		s.CertFile:          admin.cert,
		s.KeyFile:           admin.key,
		s.file(servingCert): serving.cert,
		s.file(servingKey):  serving.key,
		s.file(accountKey):  account,
		s.file(tokensFile):  fmt.Appendf(nil, "%s,admin,admin,\"system:masters\"\n", s.token),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("write the server's credentials: %w", err)
		}
	}
	return s.writeKubeconfig(s.Kubeconfig, "admin", credentials{Token: s.token})
}

// credentials is the user of a kubeconfig. JSON carries bytes in base64, as the format wants them.
type credentials struct {
	Token string `json:"token,omitempty"`
	Cert  []byte `json:"client-certificate-data,omitempty"`
	Key   []byte `json:"client-key-data,omitempty"`
}

// writeKubeconfig writes a file that needs no other file. It is JSON, which is YAML too.
func (s *Server) writeKubeconfig(path, user string, c credentials) error {
	type object = map[string]any
	b, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []object{{"name": "test", "cluster": object{"server": s.URL, "certificate-authority-data": s.ca.pem}}},
		"users":           []object{{"name": user, "user": c}},
		"contexts":        []object{{"name": user, "context": object{"cluster": "test", "user": user}}},
		"current-context": user,
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// UserKubeconfig returns a kubeconfig for a user and its groups, by a client certificate. What they may do
// is up to RBAC; the group system:masters may do everything.
func (s *Server) UserKubeconfig(t testing.TB, user string, groups ...string) string {
	t.Helper()
	p, err := s.ca.client(user, groups)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.writeKubeconfig(path, user, credentials{Cert: p.cert, Key: p.key}); err != nil {
		t.Fatal(err)
	}
	return path
}

// ServiceAccountKubeconfig returns a kubeconfig for a ServiceAccount that exists, by a token of the kind that
// a Pod finds mounted (the TokenRequest API). The token holds for an hour.
func (s *Server) ServiceAccountKubeconfig(t testing.TB, namespace, name string) string {
	t.Helper()
	client := s.client()
	defer client.CloseIdleConnections()
	answer, err := s.request(t.Context(), client, http.MethodPost,
		fmt.Sprintf("/api/v1/namespaces/%s/serviceaccounts/%s/token", namespace, name),
		bytes.NewBufferString(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}`))
	if err != nil {
		t.Fatalf("ask for a token of the service account %s/%s: %v", namespace, name, err)
	}
	var request struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
	}
	if err := json.Unmarshal(answer, &request); err != nil || request.Status.Token == "" {
		t.Fatalf("ask for a token of the service account %s/%s: no token in %s (%v)", namespace, name, answer, err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.writeKubeconfig(path, name, credentials{Token: request.Status.Token}); err != nil {
		t.Fatal(err)
	}
	return path
}

// Kubectl runs the real kubectl as admin and returns what it printed on both outputs. The test fails if
// kubectl does.
func (s *Server) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.TryKubectl(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryKubectl is Kubectl for a command that may fail; its error holds the output.
func (s *Server) TryKubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.assets, "kubectl"), args...)
	// kubectl keeps a cache and looks for preferences below HOME: keep it out of the user's.
	cmd.Env = append(os.Environ(), "HOME="+s.dir.path, "KUBECONFIG="+s.Kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %q: %w\n%s", args, err, out)
	}
	return string(out), err
}
