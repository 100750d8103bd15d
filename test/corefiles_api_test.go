//go:build linux

package test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An api is the least that coredns needs of an API server in a stage: a few
// objects that never change, and RBAC that is noticed. It is older than streaming
// lists (WatchList), so that clients list and then watch, which takes every right.
type api struct {
	host, port string
	rights     []string

	mu    sync.Mutex
	asked map[string]bool
}

const (
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	bearer         = "the-token-of-coredns"
)

// startAPI serves by TLS with credentials where a pod finds them, and without any
// where kubectl proxy listens.
func startAPI(rights []string) (*api, error) {
	a := &api{rights: rights, asked: map[string]bool{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(a.authenticated))
	server.StartTLS()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	a.host, a.port = host, port
	proxy, err := net.Listen("tcp", "127.0.0.1:8001")
	if err != nil {
		return nil, err
	}
	go http.Serve(proxy, http.HandlerFunc(a.authorized))
	if err := os.MkdirAll(serviceAccount, 0o755); err != nil {
		return nil, err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return a, errors.Join(
		os.WriteFile(filepath.Join(serviceAccount, "ca.crt"), authority, 0o644),
		os.WriteFile(filepath.Join(serviceAccount, "token"), []byte(bearer), 0o644),
		os.WriteFile(filepath.Join(serviceAccount, "namespace"), []byte("kube-system"), 0o644),
	)
}

func (a *api) authenticated(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "no token")
		return
	}
	a.authorized(w, r)
}

func (a *api) authorized(w http.ResponseWriter, r *http.Request) {
	resource := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/apis/")
	resource = strings.Replace(resource, "/v1/", "/", 1) // discovery.k8s.io/v1/endpointslices
	watch := r.URL.Query().Get("watch") != "" && r.URL.Query().Get("watch") != "false"
	right := "list " + resource
	if watch {
		right = "watch " + resource
	}
	if r.URL.Query().Get("sendInitialEvents") != "" {
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents: forbidden: the WatchList feature is disabled")
		return
	}
	a.mu.Lock()
	a.asked[right] = true
	a.mu.Unlock()
	list := objects()[resource]
	switch {
	case a.rights != nil && !slices.Contains(a.rights, right):
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, "coredns may not "+right)
	case list == nil:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no "+resource)
	case watch:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done() // nothing ever changes
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(list)
	}
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Reason: reason, Message: message, Code: int32(code),
	})
}

// excess is what was asked for and is not granted: the role must be enough.
func (a *api) excess() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []error
	for right := range a.asked {
		if !slices.Contains(a.rights, right) {
			all = append(all, fmt.Errorf("%s: not granted", right))
		}
	}
	return errors.Join(all...)
}

// unused is what is granted and has not been asked for: the role must be no more
// than enough.
func (a *api) unused() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []error
	for _, right := range a.rights {
		if !a.asked[right] {
			all = append(all, fmt.Errorf("%s: granted, never asked for", right))
		}
	}
	return errors.Join(all...)
}

// objects are what every cluster has, by resource.
func objects() map[string]any {
	list := func(version, kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: version, Kind: kind + "List"}
	}
	at := metav1.ListMeta{ResourceVersion: "10"}
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "9"}
	}
	https, ready := "https", true
	port, protocol := int32(6443), corev1.ProtocolTCP
	slice := discoveryv1.EndpointSlice{
		ObjectMeta:  meta("default", "kubernetes"),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"172.30.0.10"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &https, Port: &port, Protocol: &protocol}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "kubernetes"}
	return map[string]any{
		"namespaces": corev1.NamespaceList{TypeMeta: list("v1", "Namespace"), ListMeta: at, Items: []corev1.Namespace{
			{ObjectMeta: meta("", "default")}, {ObjectMeta: meta("", "kube-system")},
		}},
		"services": corev1.ServiceList{TypeMeta: list("v1", "Service"), ListMeta: at, Items: []corev1.Service{{
			ObjectMeta: meta("default", "kubernetes"),
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"},
				Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
			},
		}}},
		"discovery.k8s.io/endpointslices": discoveryv1.EndpointSliceList{
			TypeMeta: list("discovery.k8s.io/v1", "EndpointSlice"), ListMeta: at, Items: []discoveryv1.EndpointSlice{slice},
		},
		"pods": corev1.PodList{TypeMeta: list("v1", "Pod"), ListMeta: at},
	}
}
