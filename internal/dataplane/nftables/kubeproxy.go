package nftables

import (
	"context"
	"errors"
	"fmt"

	"github.com/signpost-dns/signpost/internal/nft"
)

// kubeProxyTable is the name of the tables of kube-proxy's nftables mode, one in each
// family (kubernetes, pkg/proxy/nftables).
const kubeProxyTable = "kube-proxy"

// CleanupKubeProxy deletes the tables that kube-proxy's nftables mode left in the network
// namespace of the calling thread, and returns their names; none is no error. Nobody must
// rely on their rules any more: ours are to be in place, or none wanted.
func CleanupKubeProxy(ctx context.Context) (removed []string, err error) {
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, f := range families {
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		t := nft.Table{Family: f, Name: kubeProxyTable}
		there, err := c.RemoveTable(t)
		if err != nil {
			return removed, fmt.Errorf("delete table %v, which kube-proxy left: %w", t, err)
		}
		if there {
			removed = append(removed, t.String())
		}
	}
	return removed, nil
}
