package main

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/internal/source/kube"
	"github.com/signpost-dns/signpost/internal/source/manifest"
)

// feed keeps a Store equal to a source of objects.
type feed interface {
	Run(context.Context)
	Status() []source.Status
}

// forUs selects what a proxy routes: no Services of other proxies, and no
// headless endpoints. Slices have the labels of their Service.
const forUs = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"

// newFeed connects the store with a folder of manifests or with the API; name is that of
// this node. programmed, which may be nil, is called for changes with a timestamp.
func newFeed(c *config.Config, name string, store *cluster.Store, log *slog.Logger, report func(source.Problem), programmed func(kube.Programmed)) (feed, error) {
	if dir := c.Flags.Manifests; dir != "" {
		log.Info("reading objects", "from", dir)
		return manifest.New(dir, store, manifest.Options{LabelSelector: forUs, Report: report, Logf: logf(log)})
	}
	rc, err := connection(c)
	if err != nil {
		return nil, err
	}
	log.Info("reading objects", "from", rc.Host)
	return kube.New(rc, store, kube.Options{
		Kinds:         []cluster.Kind{cluster.KindService, cluster.KindSlice, cluster.KindNode, cluster.KindServiceCIDR},
		LabelSelector: forUs, Node: name, Report: report, Logf: logf(log), Programmed: programmed,
	})
}

// component is the forwarder's name in Events.
const component = "signpost-forwarder"

// newRecorder returns a recorder for Events, or nil if objects come from a folder.
func newRecorder(c *config.Config, name string, log *slog.Logger) (*kube.Recorder, error) {
	if c.Flags.Manifests != "" {
		return nil, nil
	}
	rc, err := connection(c)
	if err != nil {
		return nil, err
	}
	return kube.NewRecorder(rc, component, name, logf(log))
}

// connection returns the connection to the API. It must not depend on the forwarder's own
// routes: on a node that just started, the address of default/kubernetes is not routed yet.
// So --master takes precedence over the server of the kubeconfig and over
// KUBERNETES_SERVICE_HOST. The credentials come from the kubeconfig or the pod.
func connection(c *config.Config) (*rest.Config, error) {
	k := kube.Config{
		Kubeconfig: c.Wire.ClientConnection.Kubeconfig,
		QPS:        c.Wire.ClientConnection.QPS,
		Burst:      int(c.Wire.ClientConnection.Burst),
		UserAgent:  "signpost-forwarder/" + version(),
	}
	rc, err := k.REST()
	if c.Flags.Master == "" {
		if err != nil {
			return nil, fmt.Errorf("find the API server: %w (or --master, or --manifests to use no API)", err)
		}
		return rc, nil
	}
	if err != nil && k.Kubeconfig != "" {
		return nil, fmt.Errorf("find the credentials for the API server %s: %w", c.Flags.Master, err)
	}
	if err != nil { // not in a pod: use the server without credentials
		k.Endpoint = c.Flags.Master
		return k.REST()
	}
	rc.Host = c.Flags.Master
	return rc, nil
}
