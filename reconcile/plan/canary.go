package plan

import (
	"fmt"
	"slices"
	"time"
)

// canary is what canaries allow.
type canary struct {
	room  int       // VMs that may get the wanted image now; everybody when no canary is needed any more
	why   string    // why none may, when room is 0
	until time.Time // until when; zero when that is no matter of time
}

const everybody = -1

// canaries tells how many VMs may get the wanted image now.
//
// A canary is any VM that runs the wanted image, serves, and whose gate has passed on it; a VM that was made with it is
// one too. When as many as are asked for have been so for the time to bake, everybody follows. Until then there is one
// more at a time, and none while one that had passed its gate does not serve any more: it is what canaries are for.
func (f *fleet) canaries() canary {
	r, sick := f.want.Rollout, ""
	if r.Canaries <= 0 {
		return canary{room: everybody}
	}
	var baked []time.Time
	for _, m := range f.members {
		if m.vm == nil || m.vm.Record.Image != f.want.Image.Digest || m.vm.Record.Rolled.IsZero() {
			continue
		}
		if m.up {
			baked = append(baked, m.vm.Record.Rolled.Add(r.Bake))
		} else {
			sick = m.want.Name
		}
	}
	slices.SortFunc(baked, time.Time.Compare)
	switch {
	case len(baked) >= r.Canaries && !baked[r.Canaries-1].After(f.now):
		return canary{room: everybody}
	case sick != "":
		return canary{why: fmt.Sprintf("canary %s does not serve", sick)}
	case len(baked) < r.Canaries:
		return canary{room: 1}
	}
	return canary{why: fmt.Sprintf("the new image bakes on %d VMs first, for %s", r.Canaries, r.Bake), until: baked[r.Canaries-1]}
}
