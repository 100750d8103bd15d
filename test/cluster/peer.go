package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// peerManifest is kube-proxy as kubeadm sets it up. In it ${SERVER} is the API server's URL and ${IMAGE} is
// kube-proxy's image.
//
//go:embed peer/kube-proxy.yaml
var peerManifest string

// The tags of the peers' images in the cluster: kube-proxy, and a CoreDNS to come from and to go back to. That is
// our own program, which has the plugin kubernetes as it is upstream.
const (
	peerImage    = "kube-proxy:" + kubernetesVersion
	peerDNSImage = "coredns:peer"
)

// peerImages are both. own has the images of this repository.
func peerImages(programs string, own map[string]v1.Image, shell v1.Layer) (map[string]v1.Image, error) {
	proxy, err := kubeProxyImage(programs, shell)
	if err != nil {
		return nil, err
	}
	return map[string]v1.Image{peerImage: proxy, peerDNSImage: own["signpost/coredns:dev"]}, nil
}

// kubeProxyImage holds kube-proxy and the one program that its nftables mode calls.
func kubeProxyImage(programs string, shell v1.Layer) (v1.Image, error) {
	paths, err := find([]tool{{"nft", "nftables"}})
	if err != nil {
		return nil, err
	}
	files, err := programFiles(paths)
	if err != nil {
		return nil, err
	}
	files = append(files, dirInode("usr/local"), dirInode("usr/local/bin"), fileInode("usr/local/bin/kube-proxy", filepath.Join(programs, "kube-proxy")))
	proxy, err := layer(withoutDoubles(files))
	if err != nil {
		return nil, err
	}
	return image(v1.Config{Entrypoint: []string{"/usr/local/bin/kube-proxy"}}, shell, proxy)
}

// toPeer puts the peers in the place of Signpost: kube-proxy for the forwarder, and the word kubernetes for the
// word signpost in the Corefile, as the README describes the way back.
func (c *cluster) toPeer(ctx context.Context) error {
	if _, err := c.kubectl(ctx, "-n", "kube-system", "delete", "daemonset", "signpost-forwarder", "--ignore-not-found", "--cascade=foreground", "--timeout=60s"); err != nil {
		return err
	}
	if err := c.onNodes(ctx, ownBinary(c.e, "forwarder"), "--cleanup"); err != nil {
		return err
	}
	manifest := strings.NewReplacer("${SERVER}", apiURL(), "${IMAGE}", peerImage).Replace(peerManifest)
	file := c.place.file("kube-proxy.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		return fmt.Errorf("write kube-proxy's manifest: %w", err)
	}
	if _, err := c.kubectl(ctx, "apply", "-f", file); err != nil {
		return err
	}
	corefile, err := c.kubectl(ctx, "-n", "kube-system", "get", "configmap", "coredns", "-o", "json")
	if err != nil {
		return err
	}
	changed, err := peerCorefile(corefile)
	if err != nil {
		return err
	}
	file = c.place.file("corefile.json")
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, "replace", "-f", file); err != nil {
		return err
	}
	// One after the other: CoreDNS wants a VIP at once. And a kube-proxy that is replaced right after its start may
	// leave the node without frontends (1.36.3: its map service-ips stays empty).
	if err := c.ready(ctx, "daemonset/kube-proxy"); err != nil {
		return err
	}
	return c.restart(ctx, "deployment/coredns")
}

// peerCorefile changes the word in a ConfigMap with a Corefile in it.
func peerCorefile(configMap string) (string, error) {
	const zones = " cluster.local in-addr.arpa"
	changed := strings.Replace(configMap, " signpost"+zones, " kubernetes"+zones, 1)
	if changed == configMap {
		return "", fmt.Errorf("no stanza `signpost%s …` in the cluster's Corefile:\n%s", zones, configMap)
	}
	return changed, nil
}

// fromPeer is the way to Signpost again.
func (c *cluster) fromPeer(ctx context.Context) error {
	if _, err := c.kubectl(ctx, "-n", "kube-system", "delete", "daemonset", "kube-proxy", "--cascade=foreground", "--timeout=60s"); err != nil {
		return err
	}
	if err := c.onNodes(ctx, filepath.Join(c.bin, "kube-proxy"), "--cleanup"); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, "apply", "-k", filepath.Join(shipped, "manifests", "overlays", "fresh")); err != nil {
		return err
	}
	if err := c.ready(ctx, "daemonset/signpost-forwarder"); err != nil {
		return err
	}
	return c.restart(ctx, "deployment/coredns")
}

// onNodes runs a program of this machine in the namespaces of every node.
func (c *cluster) onNodes(ctx context.Context, args ...string) error {
	_, state, err := theCluster(c.e, nil, 0)
	if err != nil {
		return err
	}
	for _, n := range nodes() {
		cmd, err := c.place.inside(ctx, state, n.name, args...)
		if err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("run %s on node %s: %w\n%s", strings.Join(args, " "), n.name, err, out)
		}
	}
	return nil
}

// restart gives new pods to a workload of kube-system and waits until they are ready.
func (c *cluster) restart(ctx context.Context, workload string) error {
	if _, err := c.kubectl(ctx, "-n", "kube-system", "rollout", "restart", workload); err != nil {
		return err
	}
	return c.ready(ctx, workload)
}

// ready waits until all pods of a workload of kube-system are new and ready.
func (c *cluster) ready(ctx context.Context, workload string) error {
	_, err := c.kubectl(ctx, "-n", "kube-system", "rollout", "status", workload, "--timeout=300s")
	if err != nil {
		logs, _ := c.kubectl(ctx, "-n", "kube-system", "logs", workload, "--all-containers", "--prefix", "--tail=20")
		return fmt.Errorf("%w\n%s", err, logs)
	}
	return nil
}
