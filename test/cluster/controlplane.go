package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// serviceAccountIssuer is what the API server writes into the tokens of pods.
const serviceAccountIssuer = "https://kubernetes.default.svc." + clusterDomain

// apiURL is where the members of the cluster reach the API server.
func apiURL() string { return "https://" + netip.AddrPortFrom(control.v4, apiPort).String() }

// writeCredentials makes everything below pki/ that the members need, and the kubeconfigs of whoever is inside.
// The one for people on the machine follows when its relay has a port.
func (p place) writeCredentials() (*authority, error) {
	dir := p.file("pki")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ca, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	ips := append([]netip.Addr{control.v4, control.v6, netip.MustParseAddr("127.0.0.1")}, firstServices...)
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain}
	if err := ca.write("apiserver", "kube-apiserver", "", ips, names...); err != nil {
		return nil, err
	}
	if err := ca.write("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", nil); err != nil {
		return nil, err
	}
	_, account, err := newKey()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "service-account.key"), account, 0o600); err != nil {
		return nil, err
	}
	for _, user := range []struct{ file, name, group string }{
		{"admin", "admin", "system:masters"},
		{"controller-manager", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
	} {
		if err := ca.kubeconfig(filepath.Join(dir, user.file+".kubeconfig"), apiURL(), user.name, user.group); err != nil {
			return nil, err
		}
	}
	for _, n := range nodes() {
		if err := ca.write(n.name, "system:node:"+n.name, "system:nodes", []netip.Addr{n.v4, n.v6}, n.name); err != nil {
			return nil, err
		}
		if err := ca.kubeconfig(filepath.Join(dir, n.name+".kubeconfig"), apiURL(), "system:node:"+n.name, "system:nodes"); err != nil {
			return nil, err
		}
	}
	return ca, nil
}

// service is a program that the supervisor runs.
type service struct {
	name    string // also of its log
	program string // its file
	args    []string
}

// controlPlane returns the command lines of the control plane, in the order of their start. The programs are
// in bin.
func (p place) controlPlane(bin string) []service {
	const nowhere = "http://127.0.0.1:0" // of one etcd, nobody dials what it advertises
	pki := func(name string) string { return p.file("pki", name) }
	socket := "unix://" + p.file("etcd.sock")
	etcd := service{"etcd", filepath.Join(bin, "etcd"), []string{
		"--name=control", "--data-dir=" + p.file("etcd"),
		"--listen-client-urls=" + socket, "--advertise-client-urls=" + nowhere,
		"--listen-peer-urls=" + nowhere, "--initial-advertise-peer-urls=" + nowhere, "--initial-cluster=control=" + nowhere,
		"--unsafe-no-fsync", // the data need not outlive the machine
		"--log-level=warn",
	}}
	api := service{"kube-apiserver", filepath.Join(bin, "kube-apiserver"), []string{
		"--etcd-servers=" + socket,
		"--bind-address=" + control.v4.String(), fmt.Sprint("--secure-port=", apiPort), "--advertise-address=" + control.v4.String(),
		"--endpoint-reconciler-type=lease", // so that default/kubernetes has an endpoint
		"--service-cluster-ip-range=" + serviceRanges,
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"), "--client-ca-file=" + pki("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--service-account-issuer=" + serviceAccountIssuer,
		"--service-account-signing-key-file=" + pki("service-account.key"), "--service-account-key-file=" + pki("service-account.key"),
		"--allow-privileged=true",
	}}
	common := func(name string) []string {
		file := pki(name + ".kubeconfig")
		return []string{
			"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file,
			"--bind-address=127.0.0.1", "--leader-elect=false",
		}
	}
	manager := service{"kube-controller-manager", filepath.Join(bin, "kube-controller-manager"), append(common("controller-manager"),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+pki("service-account.key"), "--root-ca-file="+pki("ca.crt"),
		"--allocate-node-cidrs=false", // the plan says which pods are where
		// A node that is gone is seen in less than a minute. It must take longer than the API
		// server is away in the gate: to the manager all nodes are gone then, and it says so of
		// all pods when the API is back, as it does after longer outages than that.
		"--node-monitor-period=1s", "--node-monitor-grace-period=30s",
	)}
	scheduler := service{"kube-scheduler", filepath.Join(bin, "kube-scheduler"), common("scheduler")}
	return []service{etcd, api, manager, scheduler}
}
