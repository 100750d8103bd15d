//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// corefile is the configuration of the playground's coredns. It differs from Corefile.example where there is no cluster:
// objects come from a folder; there is no other DNS to forward to, so names outside of the cluster do not exist.
// Answers are not cached, so that a change shows at once.
func corefile(manifests string) string {
	return `cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
    errors
    ready
    signpost cluster.local in-addr.arpa ip6.arpa {
        manifests ` + manifests + `
        pods insecure
    }
    loadbalance
}
.:53 {
    template ANY ANY {
        rcode NXDOMAIN
    }
}
`
}

// Where the plugin ready listens.
const readyPort = 8181

// dnsPod is the pod of coredns, as manifests/coredns makes it: the Service kube-dns finds it by its label.
func dnsPod(node string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "coredns", Namespace: metav1.NamespaceSystem, Labels: map[string]string{"k8s-app": "kube-dns"},
		},
		Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{{Name: "coredns", Ports: []corev1.ContainerPort{
				{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
				{Name: "dns-tcp", ContainerPort: 53, Protocol: corev1.ProtocolTCP},
			}}},
		},
	}
}

// addDNS makes the pod of coredns.
func (c *cluster) addDNS() (*runningPod, error) { return c.addPod(dnsPod(c.lab.Node(1).Name)) }

// startDNS starts the real coredns in its pod. What is in the folder by now, it will know when it is ready.
func (p *runningPod) startDNS(binary, scratch, manifests string) error {
	config := filepath.Join(scratch, "Corefile")
	if err := os.WriteFile(config, []byte(corefile(manifests)), 0o644); err != nil {
		return fmt.Errorf("write the Corefile: %w", err)
	}
	cmd := exec.Command(binary, "-conf", config)
	cmd.Dir = scratch
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	var err error
	p.process, err = p.host.Start(cmd)
	return err
}

// awaitDNS waits until coredns says that it is ready, which is when it has read the folder, and until it answers, which is
// a moment later: it opens its sockets last.
func (p *runningPod) awaitDNS(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := p.poll(ctx, func() error {
		return probeHTTP(ctx, p.node.Host, netip.AddrPortFrom(p.host.IPv4, readyPort), "/ready")
	}); err != nil {
		return err
	}
	if err := p.poll(ctx, func() error { return probeAnswers(ctx, p.node.Host, p.host.IPv4) }); err != nil {
		return err
	}
	p.setReady()
	return nil
}

// probeHTTP asks a page of a program, from a host: how it is.
func probeHTTP(ctx context.Context, from *netlab.Host, at netip.AddrPort, path string) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return from.Dial(ctx, network, at)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// awaitVIP waits until the cluster's DNS answers a pod at the address that the pods know.
func (c *cluster) awaitVIP(ctx context.Context, dns, client *runningPod) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return dns.poll(ctx, func() error { return probeAnswers(ctx, client.host, c.dns) })
}

// probeAnswers asks a question, from a host; any answer will do.
func probeAnswers(ctx context.Context, from *netlab.Host, to netip.Addr) error {
	conn, err := from.Dial(ctx, "udp", netip.AddrPortFrom(to, 53))
	if err != nil {
		return err
	}
	defer conn.Close()
	query := new(dns.Msg).SetQuestion(clusterDomain+".", dns.TypeSOA)
	client := dns.Client{Timeout: time.Second}
	_, _, err = client.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn})
	return err
}
