package nftables

import (
	"context"
	"errors"
	"fmt"

	"github.com/signpost-dns/signpost/internal/nft"
)

// InUse reports whether the network namespace of the calling thread has a table of ours.
func InUse() (bool, error) {
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return false, err
	}
	var errs []error
	there := false
	for _, f := range families {
		found, err := c.FindTable(ourTable(f))
		there = there || found != nil
		errs = append(errs, err)
	}
	return there, errors.Join(append(errs, c.Close())...)
}

// Cleanup deletes everything of ours from the network namespace of the calling
// thread, also what a process left behind that is gone. It fails with
// dataplane.ErrInUse if there is one that is not.
func Cleanup(ctx context.Context) error {
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range families {
		for _, name := range []string{tableName, spareName} {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, err, c.Close())...)
			}
			errs = append(errs, cleanUp(c, nft.Table{Family: f, Name: name}))
		}
	}
	return errors.Join(append(errs, c.Close())...)
}

func cleanUp(c *nft.Conn, t nft.Table) error {
	found, err := c.FindTable(t)
	if err == nil && found != nil && ownedByOther(found, c) {
		return inUse(t, found)
	}
	if err == nil {
		_, err = c.RemoveTable(t)
	}
	if err != nil {
		return fmt.Errorf("delete table %v: %w", t, err)
	}
	return nil
}
