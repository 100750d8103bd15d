package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// overlay is what is applied to the cluster, as it is.
const overlay = "manifests/overlays/fresh"

// applyProduct does what the README tells people to do on a fresh cluster, and waits for it.
func (c *cluster) applyProduct(ctx context.Context) error {
	steps := [][]string{
		{"-n", "kube-system", "create", "configmap", "kubernetes-services-endpoint",
			"--from-literal=KUBERNETES_SERVICE_HOST=" + control.v4.String(), fmt.Sprint("--from-literal=KUBERNETES_SERVICE_PORT=", apiPort)},
		{"apply", "-k", filepath.Join(shipped, overlay)},
	}
	for _, args := range steps {
		if _, err := c.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	c.tell("%s is applied", overlay)
	if err := c.waitForNodes(ctx); err != nil {
		return err
	}
	for _, what := range []string{"daemonset/signpost-forwarder", "deployment/coredns"} {
		if _, err := c.kubectl(ctx, "-n", "kube-system", "rollout", "status", what, "--timeout=60s"); err != nil {
			pods, _ := c.kubectl(ctx, "-n", "kube-system", "get", "pods", "-o", "wide")
			logs, _ := c.kubectl(ctx, "-n", "kube-system", "logs", what, "--all-containers", "--prefix", "--tail=20")
			return fmt.Errorf("%w\n%s%s", err, pods, logs)
		}
		c.tell("%s is rolled out", what)
	}
	return nil
}

// waitForNodes waits until the nodes are ready, and tells the API which pods are theirs.
func (c *cluster) waitForNodes(ctx context.Context) error {
	for _, n := range nodes() {
		name := "node/" + n.name
		if _, err := c.kubectl(ctx, "wait", "--for=create", name, "--timeout=60s"); err != nil {
			return fmt.Errorf("%w\nthe end of the kubelet's log:\n%s", err, tailOf(c.place.file(n.name, "log", "kubelet.log")))
		}
		patch := fmt.Sprintf(`{"spec":{"podCIDR":"%s","podCIDRs":["%s","%s"]}}`, n.pods4, n.pods4, n.pods6)
		if _, err := c.kubectl(ctx, "patch", name, "-p", patch); err != nil {
			return err
		}
		if _, err := c.kubectl(ctx, "wait", "--for=condition=Ready", name, "--timeout=60s"); err != nil {
			return fmt.Errorf("%w\nthe end of the kubelet's log:\n%s", err, tailOf(c.place.file(n.name, "log", "kubelet.log")))
		}
	}
	c.tell("%d nodes are ready", len(nodes()))
	return nil
}
