package vsphere

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// follower waits for changes of properties. It is a property collector of its own, because waiting ones cannot share.
type follower struct {
	c       *Client
	pc      types.ManagedObjectReference
	version string
	first   []types.ObjectUpdate // what was read at the beginning
}

// graceTime is how much longer than asked vCenter may take to say that nothing changed.
const graceTime = 30 * time.Second

// follow starts to follow properties. What was read when it returns is where the first wait begins.
func (c *Client) follow(ctx context.Context, specs []types.PropertyFilterSpec) (*follower, error) {
	res, err := methods.CreatePropertyCollector(ctx, c.vim, &types.CreatePropertyCollector{This: c.vim.ServiceContent.PropertyCollector})
	if err != nil {
		return nil, fmt.Errorf("make a property collector: %w", err)
	}
	w := &follower{c: c, pc: res.Returnval}
	for _, spec := range specs {
		if _, err := methods.CreateFilter(ctx, c.vim, &types.CreateFilter{This: w.pc, Spec: spec, PartialUpdates: true}); err != nil {
			w.close(ctx)
			return nil, fmt.Errorf("make a property filter: %w", err)
		}
	}
	if w.first, err = w.wait(ctx, 0); err != nil {
		w.close(ctx)
		return nil, err
	}
	return w, nil
}

// wait returns what changed, as soon as something did, or nothing after limit.
func (w *follower) wait(ctx context.Context, limit time.Duration) ([]types.ObjectUpdate, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit+graceTime, fmt.Errorf("vCenter did not answer within %s", limit+graceTime))
	defer cancel()
	var all []types.ObjectUpdate
	for {
		seconds := int32(limit / time.Second)
		res, err := methods.WaitForUpdatesEx(ctx, w.c.vim, &types.WaitForUpdatesEx{
			This: w.pc, Version: w.version, Options: &types.WaitOptions{MaxWaitSeconds: &seconds},
		})
		if err != nil {
			return nil, fmt.Errorf("wait for changes: %w", err)
		}
		set := res.Returnval
		if set == nil {
			return all, nil
		}
		w.version = set.Version
		for _, f := range set.FilterSet {
			if len(f.MissingSet) > 0 {
				return nil, fmt.Errorf("wait for changes: vCenter does not show %s any more", f.MissingSet[0].Obj.Value)
			}
			all = append(all, f.ObjectSet...)
		}
		if set.Truncated == nil || !*set.Truncated {
			return all, nil
		}
	}
}

// close ends it. One that stays costs the session a little memory until the logout.
func (w *follower) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	_, _ = methods.DestroyPropertyCollector(ctx, w.c.vim, &types.DestroyPropertyCollector{This: w.pc})
}
