//go:build linux

package test

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/test/api"
)

// A guard is the door of an API: who comes with the token of the pod gets what is
// granted, and what was asked for is remembered.
type guard struct {
	host, port string
	rights     []string // "verb group/resource"; nil grants everything
	behind     http.Handler

	mu    sync.Mutex
	asked map[string]bool
}

const (
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	bearer         = "the-token-of-coredns"
)

// startAPI serves what every cluster has: by TLS with credentials where a pod
// finds them, and without any where kubectl proxy listens.
func startAPI(t *testing.T, rights []string) *guard {
	t.Helper()
	s := api.New(t)
	s.Put(objects()...)
	// With a watch list there would be no list to see the right of.
	s.NoWatchList()
	g := &guard{rights: rights, behind: s, asked: map[string]bool{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(g.authenticated))
	server.StartTLS()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	g.host, g.port = host, port
	proxy, err := net.Listen("tcp", "127.0.0.1:8001")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(proxy, http.HandlerFunc(g.authorized))
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	writeFiles(t, serviceAccount, map[string]string{"ca.crt": string(authority), "token": bearer, "namespace": "kube-system"})
	return g
}

func (g *guard) authenticated(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	g.authorized(w, r)
}

func (g *guard) authorized(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("sendInitialEvents") { // to be refused by the API, so that it is no use of a right
		g.behind.ServeHTTP(w, r)
		return
	}
	verb := "list "
	if query.Has("watch") {
		verb = "watch "
	}
	resource := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/apis/")
	right := verb + strings.NewReplacer("/v1/", "/", "/v1alpha1/", "/").Replace(resource) // discovery.k8s.io/v1/endpointslices
	g.mu.Lock()
	g.asked[right] = true
	g.mu.Unlock()
	if g.rights != nil && !slices.Contains(g.rights, right) {
		http.Error(w, "coredns may not "+right, http.StatusForbidden)
		return
	}
	g.behind.ServeHTTP(w, r)
}

// excess is an error if something was asked for that is not granted: the role
// must be enough.
func (g *guard) excess() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for right := range g.asked {
		if !slices.Contains(g.rights, right) {
			return fmt.Errorf("%s: not granted", right)
		}
	}
	return nil
}

// unused is an error if something is granted that has not been asked for: the
// role must be no more than enough.
func (g *guard) unused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, right := range g.rights {
		if !g.asked[right] {
			return fmt.Errorf("%s: granted, never asked for", right)
		}
	}
	return nil
}

// objects are what every cluster has.
func objects() []runtime.Object {
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	name, ready, port, protocol := "https", true, int32(6443), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta("default", "kubernetes"),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"172.30.0.10"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "kubernetes"}
	return []runtime.Object{
		&corev1.Namespace{ObjectMeta: meta("", "default")},
		&corev1.Namespace{ObjectMeta: meta("", "kube-system")},
		&corev1.Service{
			ObjectMeta: meta("default", "kubernetes"),
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"},
				Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
			},
		},
		slice,
	}
}

// writeFiles fills a folder.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
