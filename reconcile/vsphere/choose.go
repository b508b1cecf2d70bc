package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Datastore returns the name of the one datastore that a name, an inventory path, a pattern or a datastore cluster stands
// for: of several the one that has the folder already, else the one with most free space. It is for folders of data
// disks, which are no Store.
func (c *Client) Datastore(ctx context.Context, datacenter, name, folder string) (string, error) {
	dc, err := c.datacenter(ctx, datacenter)
	if err != nil {
		return "", fmt.Errorf("datastore %s: %w", name, err)
	}
	list, err := usable(c.datastores(ctx, dc, name))
	if err != nil {
		return "", fmt.Errorf("datastore %s: %w", name, err)
	}
	d, err := holder(ctx, list, folder)
	if err != nil {
		return "", fmt.Errorf("datastore %s: %w", name, err)
	}
	return d.name, nil
}

// holder returns the first datastore that has the folder; when none has it, the first. Of a single one nothing is asked.
func holder(ctx context.Context, list []datastore, dir string) (datastore, error) {
	for _, d := range list {
		if len(list) == 1 {
			break
		}
		_, err := d.search(ctx, dir, "*")
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
	}
	return list[0], nil
}
