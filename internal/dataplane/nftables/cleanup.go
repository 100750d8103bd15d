package nftables

import (
	"context"
	"errors"
	"fmt"
)

// InUse reports whether the network namespace of the calling thread has a table of ours.
func InUse() (bool, error) {
	c, err := dial()
	if err != nil {
		return false, err
	}
	var errs []error
	there := false
	for _, f := range families {
		found, err := c.findTable(f, tableName)
		there = there || found != nil
		errs = append(errs, err)
	}
	return there, errors.Join(append(errs, c.close())...)
}

// Cleanup deletes everything of ours from the network namespace of the calling
// thread, also what a process left behind that is gone. It fails with
// dataplane.ErrInUse if there is one that is not.
func Cleanup(ctx context.Context) error {
	c, err := dial()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range families {
		for _, name := range []string{tableName, spareName} {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, err, c.close())...)
			}
			errs = append(errs, c.cleanUp(f, name))
		}
	}
	return errors.Join(append(errs, c.close())...)
}

func (c *conn) cleanUp(f *family, name string) error {
	found, err := c.findTable(f, name)
	if err != nil || found == nil {
		return err
	}
	if found.ownedByOther(c) {
		return inUse(f, name, *found)
	}
	if err := c.deleteTable(f, name); err != nil {
		return fmt.Errorf("delete table %s %s: %w", f.name, name, err)
	}
	return nil
}
