package apiserver

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/signpost-dns/signpost/test/apiserver/child"
)

func clientFor(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func fromKubeconfig(t *testing.T, path string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	return clientFor(t, config)
}

// whoami asks the server whom it takes the client for.
func whoami(t *testing.T, client *kubernetes.Clientset) authenticationv1.UserInfo {
	t.Helper()
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t)
	t.Run("identities", func(t *testing.T) { testIdentities(t, s) })
	t.Run("the client verifies the server", func(t *testing.T) {
		client := clientFor(t, &rest.Config{Host: s.URL, BearerToken: s.token})
		_, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) {
			t.Errorf("without the authority: got %v, want an unknown authority", err)
		}
	})
	t.Run("RBAC", func(t *testing.T) { testRBAC(t, s) })
	t.Run("dual-stack Services", func(t *testing.T) { testDualStack(t, s) })
	t.Run("restarts", func(t *testing.T) { testRestarts(t, s) })
}

func testIdentities(t *testing.T, s *Server) {
	byCertificate := &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile}}
	s.Kubectl(t, "create", "serviceaccount", "reader")
	tests := []struct {
		name        string
		client      *kubernetes.Clientset
		user, group string
	}{
		{"admin's kubeconfig", fromKubeconfig(t, s.Kubeconfig), "admin", "system:masters"},
		{"admin's certificate", clientFor(t, byCertificate), "admin", "system:masters"},
		{"a user's kubeconfig", fromKubeconfig(t, s.UserKubeconfig(t, "jane", "staff", "night")), "jane", "night"},
		{"a service account's kubeconfig", fromKubeconfig(t, s.ServiceAccountKubeconfig(t, "default", "reader")),
			"system:serviceaccount:default:reader", "system:serviceaccounts:default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := whoami(t, tt.client)
			if got.Username != tt.user || !strings.Contains(fmt.Sprint(got.Groups), tt.group) {
				t.Errorf("got %s of %v, want %s of %s", got.Username, got.Groups, tt.user, tt.group)
			}
		})
	}
}

func testRBAC(t *testing.T, s *Server) {
	client := fromKubeconfig(t, s.UserKubeconfig(t, "joe"))
	if _, err := client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without a role: got %v, want forbidden", err)
	}
	// Not view or edit: a controller fills those (aggregationRule).
	s.Kubectl(t, "create", "clusterrole", "lister", "--verb=list", "--resource=services")
	s.Kubectl(t, "create", "clusterrolebinding", "joe", "--clusterrole=lister", "--user=joe")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a user who may list: %v", err)
		}
	}
}

func testDualStack(t *testing.T, s *Server) {
	policy := corev1.IPFamilyPolicyRequireDualStack
	svc, err := fromKubeconfig(t, s.Kubeconfig).CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "dual"},
		Spec:       corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(svc.Spec.ClusterIPs) != len(s.ServiceCIDRs) {
		t.Fatalf("got ClusterIPs %v, want one of each of %v", svc.Spec.ClusterIPs, s.ServiceCIDRs)
	}
	for i, ip := range svc.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err != nil || !s.ServiceCIDRs[i].Contains(addr) {
			t.Errorf("got ClusterIP %s, want one of %s", ip, s.ServiceCIDRs[i])
		}
	}
}

func testRestarts(t *testing.T, s *Server) {
	client := fromKubeconfig(t, s.Kubeconfig)
	for _, way := range []struct {
		name string
		end  func(testing.TB)
	}{{"stopped", s.Stop}, {"killed", s.Kill}} {
		t.Run(way.name, func(t *testing.T) {
			name := "before-" + way.name
			s.Kubectl(t, "create", "configmap", name)
			watch, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Stop()
			url := s.URL
			way.end(t)
			for range watch.ResultChan() { // until the server's end has ended the watch
			}
			if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: got %v, want a refused connection", way.name, err)
			}
			s.Restart(t)
			if s.URL != url {
				t.Errorf("restarted at %s, was at %s", s.URL, url)
			}
			if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
				t.Errorf("after the restart: %v", err)
			}
		})
	}
}

// TestNothingIsLeft starts a server in a test of its own and looks for what remains of it.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	var s *Server
	if !t.Run("server", func(t *testing.T) { s = Start(t) }) {
		return
	}
	if s == nil {
		t.SkipNow() // the subtest said why
	}
	if _, err := os.Stat(s.dir.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory %s is left (%v)", s.dir.path, err)
	}
	for _, p := range []*child.Process{s.etcd, s.api} {
		if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s, process %d, is left (%v)", p.Name, p.PID(), err)
		}
	}
}

// TestChildrenDieWithTheirParent kills a process that runs a server, as `go test -timeout` or the machine's
// out-of-memory killer do, and waits for the children to be gone.
func TestChildrenDieWithTheirParent(t *testing.T) {
	if os.Getenv("APISERVER_TEST_PARENT") != "" {
		s := Start(t)
		if err := json.NewEncoder(os.NewFile(3, "pids")).Encode([]int{s.etcd.PID(), s.api.PID()}); err != nil {
			t.Fatal(err)
		}
		select {} // until we are killed
	}
	t.Parallel()
	dir := assets(t)
	parent := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithTheirParent$")
	tmp := t.TempDir()
	parent.Env = append(os.Environ(), "APISERVER_TEST_PARENT=1", "TMPDIR="+tmp, assetsVariable+"="+dir)
	parent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parent.ExtraFiles = []*os.File{w}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var pids []int
	err = json.NewDecoder(r).Decode(&pids)
	_ = parent.Process.Kill()
	_ = parent.Wait()
	if err != nil {
		t.Fatalf("read the children's numbers: %v", err)
	}
	defer func() { // after the children are gone: the next server removes what they wrote
		left, err := filepath.Glob(filepath.Join(tmp, directoryPattern))
		if err != nil || len(left) != 1 {
			t.Fatalf("directories left: got %v (%v), want one", left, err)
		}
		sweep(tmp)
		if _, err := os.Stat(left[0]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", left[0], err)
		}
	}()
	for _, pid := range pids {
		for deadline := time.Now().Add(30 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("process %d outlives its parent", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
		}
	}
}

// alive tells whether a process runs. One that has ended but whose new parent has not waited for it yet (state
// Z in proc(5)) does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestLaunchFails(t *testing.T) {
	tests := []struct {
		name string
		api  string // a shell script in place of kube-apiserver; "" for no file
		err  []string
	}{
		{"no program", "", []string{"start kube-apiserver", "no such file"}},
		{"it ends at once", "echo bad flag; exit 3", []string{"kube-apiserver ended: exit status 3", "bad flag"}},
		{"it never gets ready", "echo still busy; exec sleep 1000", []string{"deadline exceeded", "still busy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			script(t, filepath.Join(tmp, "etcd"), "exec sleep 1000")
			if tt.api != "" {
				script(t, filepath.Join(tmp, "kube-apiserver"), tt.api)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			s, err := launch(ctx, tmp)
			if err == nil {
				t.Fatalf("launch: got server %s, want an error", s.URL)
			}
			for _, want := range tt.err {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error: got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// script writes a program of the shell.
func script(t *testing.T, path, commands string) {
	t.Helper()
	// A child that another test forks meanwhile would hold the file open for writing, and a program that is
	// being written cannot be run (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+commands+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestHolds(t *testing.T) {
	dir := t.TempDir()
	for _, name := range programs {
		if err := holds(dir); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), assetsVariable) {
			t.Errorf("without %s: got %v", name, err)
		}
		script(t, filepath.Join(dir, name), "")
	}
	if err := holds(dir); err != nil {
		t.Error(err)
	}
}

func TestHarness(t *testing.T) {
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := harness(cwd); err != nil || got != filepath.Join(filepath.Dir(cwd), "cluster") {
		t.Errorf("harness(%s): got %s, %v", cwd, got, err)
	}
	if got, err := harness(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no test/cluster/go.mod") {
		t.Errorf("outside a repository: got %s, %v", got, err)
	}
}
