package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// Pod gets one running pod with an address from the API.
func Pod(ctx context.Context, rc *rest.Config, key cluster.Key) (*cluster.Pod, error) {
	clients, err := newClients(rc, func(string, string, ...any) {})
	if err != nil {
		return nil, err
	}
	var list corev1.PodList // a list of one, because controllers have the right to list
	o := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name).String(), Limit: 1}
	err = clients.of(cluster.KindPod).Get().Namespace(key.Namespace).Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(&list)
	if err != nil {
		return nil, fmt.Errorf("get pod %v: %w", key, err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("get pod %v: it does not exist", key)
	}
	object, _ := source.Convert(&list.Items[0], source.Options{})
	if pod, ok := object.(*cluster.Pod); ok {
		return pod, nil
	}
	return nil, fmt.Errorf("get pod %v: it has ended or has no address", key)
}

// nodePage is the page size of NodeAt.
const nodePage = 500

// NodeAt finds the Node with an address in the API; nil: none has it.
func NodeAt(ctx context.Context, rc *rest.Config, a netip.Addr) (*cluster.Node, error) {
	clients, err := newClients(rc, func(string, string, ...any) {})
	if err != nil {
		return nil, err
	}
	for next := ""; ; {
		var page corev1.NodeList
		o := metav1.ListOptions{Limit: nodePage, Continue: next}
		if err := clients.of(cluster.KindNode).Get().Resource("nodes").VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(&page); err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		for i := range page.Items {
			object, _ := source.Convert(&page.Items[i], source.Options{})
			if n, ok := object.(*cluster.Node); ok && slices.Contains(n.Addrs, a) {
				return n, nil
			}
		}
		if next = page.Continue; next == "" {
			return nil, nil
		}
	}
}
