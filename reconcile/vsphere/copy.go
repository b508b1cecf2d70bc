package vsphere

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// copyTime is how long a copy between datastores may take.
const copyTime = 2 * time.Hour

// copyFrom makes vCenter copy a file with a final name to a temporary name of this folder, also between datacenters.
// An existing target is fs.ErrExist, a missing source fs.ErrNotExist. When ctx ends, the copy is asked to stop; what
// it left is for the caller to delete.
func (s *folder) copyFrom(ctx context.Context, o *folder, from, to string) error {
	// The filter on the wire belongs to a session, and src may have come with another one.
	s.ds.c.gate.own(o.ds.dc.Reference(), o.Path(""))
	a, b := o.ds.dc.Reference(), s.ds.dc.Reference()
	res, err := methods.CopyDatastoreFile_Task(ctx, s.ds.c.vim, &types.CopyDatastoreFile_Task{
		This: *s.ds.c.vim.ServiceContent.FileManager, SourceName: o.Path(from), SourceDatacenter: &a,
		DestinationName: s.Path(to), DestinationDatacenter: &b, Force: types.NewBool(false),
	})
	if err == nil {
		_, err = s.ds.c.await(ctx, res.Returnval, nil, copyTime)
		if ctx.Err() != nil {
			s.ds.c.cancel(ctx, res.Returnval)
		}
	}
	switch {
	case isFault[*types.FileAlreadyExists](err):
		err = fmt.Errorf("copy to %s: %w", s.Path(to), fs.ErrExist)
	case isMissing(err):
		err = fmt.Errorf("copy %s: %w", o.Path(from), fs.ErrNotExist)
	case err != nil:
		err = fmt.Errorf("copy %s to %s: %w", o.Path(from), s.Path(to), err)
	}
	return judged(err)
}

// cancel asks a copy to stop. Whether it does is for vCenter to say: a file that is still written to is not deleted.
func (c *Client) cancel(ctx context.Context, task types.ManagedObjectReference) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), connectTime)
	defer stop()
	_, _ = methods.CancelTask(ctx, c.vim, &types.CancelTask{This: task})
}
