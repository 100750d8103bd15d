package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// files makes a certificate, its key, another key, and a kubeconfig.
func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, other := newKey(t), newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"cert.pem":  encode("CERTIFICATE", cert),
		"key.pem":   encodeKey(t, key),
		"other.pem": encodeKey(t, other),
		"text.txt":  "hello",
		"kubeconfig": `
apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c
  cluster: {server: "https://10.0.0.1:6443", certificate-authority: cert.pem}
users:
- name: u
  user: {client-certificate: cert.pem, client-key: key.pem}
- name: wrong
  user: {client-certificate: cert.pem, client-key: other.pem}
- name: lost
  user: {tokenFile: none}
contexts:
- name: one
  context: {cluster: c, user: u}
- name: two
  context: {cluster: c, user: wrong}
- name: three
  context: {cluster: nowhere, user: u}
- name: four
  context: {cluster: c, user: lost}
- name: five
  context: {cluster: c, user: nobody}
`,
		"no-current": `{"apiVersion":"v1","kind":"Config","contexts":[{"name":"one","context":{}}]}`,
		"empty":      "",
		"broken":     "apiVersion: [\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func encodeKey(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("PRIVATE KEY", der)
}

func TestREST(t *testing.T) {
	dir := files(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		name   string
		config Config
		host   string
		err    []string // parts of the message
	}{
		{"kubeconfig", Config{Kubeconfig: in("kubeconfig")}, "https://10.0.0.1:6443", nil},
		{"context", Config{Kubeconfig: in("kubeconfig"), Context: "one"}, "https://10.0.0.1:6443", nil},
		{"kubeconfig goes before endpoint", Config{Kubeconfig: in("kubeconfig"), Endpoint: "http://x"}, "https://10.0.0.1:6443", nil},
		{"missing kubeconfig", Config{Kubeconfig: in("none")}, "", []string{"kubeconfig " + in("none"), "no such file", "want a kubeconfig file"}},
		{"folder as kubeconfig", Config{Kubeconfig: dir}, "", []string{"kubeconfig " + dir, "is a directory"}},
		{"broken kubeconfig", Config{Kubeconfig: in("broken")}, "", []string{"broken: ", "want a kubeconfig file"}},
		{"no contexts", Config{Kubeconfig: in("empty")}, "", []string{"it has no contexts: want one with a cluster and a user"}},
		{"no current context", Config{Kubeconfig: in("no-current")}, "", []string{"no current-context: want the name of one of its contexts (one)"}},
		{"wrong context", Config{Kubeconfig: in("kubeconfig"), Context: "x"}, "", []string{`no context "x": want one of five, four, one, three, two`}},
		{"context of nowhere", Config{Kubeconfig: in("kubeconfig"), Context: "three"}, "", []string{`context "three" is of cluster "nowhere"`}},
		{"context of nobody", Config{Kubeconfig: in("kubeconfig"), Context: "five"}, "", []string{`context "five" is of user "nobody"`}},
		{"wrong key", Config{Kubeconfig: in("kubeconfig"), Context: "two"}, "", []string{"private key does not match", "want a certificate in " + in("cert.pem")}},
		{"lost token", Config{Kubeconfig: in("kubeconfig"), Context: "four"}, "", []string{`context "four"`, in("none"), "no such file"}},

		{"endpoint", Config{Endpoint: "http://127.0.0.1:8080"}, "http://127.0.0.1:8080", nil},
		{"endpoint with a path", Config{Endpoint: "https://proxy/cluster"}, "https://proxy/cluster", nil},
		{"endpoint without scheme", Config{Endpoint: "127.0.0.1:8080"}, "127.0.0.1:8080", nil},
		{"tls", Config{Endpoint: "https://a", CertFile: in("cert.pem"), KeyFile: in("key.pem"), CAFile: in("cert.pem")}, "https://a", nil},
		{"other scheme", Config{Endpoint: "ftp://a"}, "", []string{"endpoint ftp://a: it names no server: want a URL like https://10.0.0.1:6443"}},
		{"no host", Config{Endpoint: "http://:80"}, "", []string{"endpoint http://:80: it names no server"}},
		{"no URL", Config{Endpoint: "http://a b"}, "", []string{"endpoint http://a b: ", "want a URL"}},
		{"certificate alone", Config{Endpoint: "https://a", CertFile: "c"}, "", []string{"want a certificate and its key, or neither"}},
		{"key alone", Config{Endpoint: "https://a", KeyFile: "k"}, "", []string{"want a certificate and its key, or neither"}},
		{"missing certificate", Config{Endpoint: "https://a", CertFile: in("none"), KeyFile: in("key.pem")}, "", []string{"reading the certificate", in("none")}},
		{"missing key", Config{Endpoint: "https://a", CertFile: in("cert.pem"), KeyFile: in("none")}, "", []string{"reading the key"}},
		{"missing authority", Config{Endpoint: "https://a", CAFile: in("none")}, "", []string{"reading the certificate authority"}},
		{"key of another", Config{Endpoint: "https://a", CertFile: in("cert.pem"), KeyFile: in("other.pem")}, "", []string{"private key does not match"}},
		{"text as certificate", Config{Endpoint: "https://a", CertFile: in("text.txt"), KeyFile: in("key.pem")}, "", []string{"both in PEM"}},
		{"text as authority", Config{Endpoint: "https://a", CAFile: in("text.txt")}, "", []string{"want certificates in PEM"}},

		{"no pod", Config{}, "", []string{"runs in no pod", "want a kubeconfig file or the URL of an API server"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.QPS, c.config.Burst, c.config.UserAgent = 7, 9, "test/1"
			rc, err := c.config.REST()
			for _, part := range c.err {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v lacks %q", err, part)
				}
			}
			if c.err != nil {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if rc.Host != c.host || rc.QPS != 7 || rc.Burst != 9 || rc.UserAgent != "test/1" ||
				rc.ContentType != "application/vnd.kubernetes.protobuf" || rc.AcceptContentTypes != "application/vnd.kubernetes.protobuf,application/json" {
				t.Errorf("%v %v", rc, rc.ContentConfig)
			}
		})
	}
}

// TestInPod: the token's place is fixed by Kubernetes, so all that a test outside
// of a pod can see is the complaint.
func TestInPod(t *testing.T) {
	if _, err := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token"); err == nil {
		t.Skip("this is a pod")
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	_, err := Config{}.REST()
	if err == nil || !strings.Contains(err.Error(), "want the token of its ServiceAccount") {
		t.Error(err)
	}
}
