package push

import (
	"context"
	"errors"
)

// group are stores that copy from one another.
type group []*job

// groups puts every store with the first one that it can copy from. Several vCenters are several groups.
func groups(jobs []*job) []group {
	var all []group
next:
	for _, j := range jobs {
		for i, g := range all {
			if j.copies(g[0]) {
				all[i] = append(g, j)
				continue next
			}
		}
		all = append(all, group{j})
	}
	return all
}

// copies tells whether the store can take the ISO from that other one.
func (j *job) copies(from *job) bool {
	c, ok := j.store.Store.(Copier)
	return ok && c.CanCopyFrom(from.store.Store)
}

// share brings the ISO to every store of the group: to one by upload, unless one has it, and from there to the others.
func (g group) share(ctx context.Context) {
	var source *job
	var missing []*job
	for _, j := range g {
		switch {
		case j.err != nil:
		case !j.there:
			missing = append(missing, j)
		case source == nil:
			source = j
		}
	}
	for source == nil && len(missing) > 0 {
		first := missing[0]
		missing = missing[1:]
		if first.err = first.upload(ctx); first.err == nil {
			source = first
		}
		if errors.Is(first.err, errISO) { // no store would get it right
			for _, j := range missing {
				j.err = first.err
			}
			return
		}
	}
	each(missing, func(j *job) error { return j.copyOrUpload(ctx, source) })
}

// copyOrUpload takes the ISO from another store of the group, or from here when that fails.
func (j *job) copyOrUpload(ctx context.Context, source *job) error {
	if !j.copies(source) {
		return j.upload(ctx)
	}
	err := j.copy(ctx, source)
	if err == nil || ctx.Err() != nil {
		return err
	}
	j.res.CopyError = err.Error()
	j.tell(Progress{Phase: PhaseCopy, Total: j.m.ISO.Size, Err: err})
	return j.upload(ctx)
}

func (j *job) copy(ctx context.Context, source *job) error {
	c, ok := j.store.Store.(Copier)
	if !ok {
		return errors.ErrUnsupported
	}
	return j.place(ctx, Copied, func(part string) error {
		j.tell(Progress{Phase: PhaseCopy, Total: j.m.ISO.Size})
		first := true
		err := j.store.within(ctx, copyTime, func(ctx context.Context) error {
			if !first {
				if err := remove(ctx, j.store, part); err != nil {
					return err
				}
			}
			first = false
			return c.CopyFrom(ctx, source.store.Store, source.final, part)
		})
		if err == nil {
			j.tell(Progress{Phase: PhaseCopy, Done: j.m.ISO.Size, Total: j.m.ISO.Size})
		}
		return err
	})
}
