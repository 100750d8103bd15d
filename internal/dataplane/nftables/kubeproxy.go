package nftables

import (
	"context"
	"errors"
	"fmt"
)

// kubeProxyTable is the name of the tables of kube-proxy's nftables mode, one in each
// family (kubernetes, pkg/proxy/nftables).
const kubeProxyTable = "kube-proxy"

// CleanupKubeProxy deletes the tables that kube-proxy's nftables mode left in the network
// namespace of the calling thread, and returns their names; none is no error. Nobody must
// rely on their rules any more: ours are to be in place, or none wanted.
func CleanupKubeProxy(ctx context.Context) (removed []string, err error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, f := range families {
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		name := f.name + " " + kubeProxyTable
		found, err := c.findTable(f, kubeProxyTable)
		if err == nil && found != nil {
			err = c.deleteTable(f, kubeProxyTable)
		}
		if err != nil {
			return removed, fmt.Errorf("delete table %s, which kube-proxy left: %w", name, err)
		}
		if found != nil {
			removed = append(removed, name)
		}
	}
	return removed, nil
}
