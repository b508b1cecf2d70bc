package plan

import (
	"fmt"
	"slices"
	"strings"
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
// more at a time, and none while one that had passed its gate does not serve any more: it is what canaries are for. Nor
// while another run is at one: it may be the next canary.
func (f *fleet) canaries() canary {
	r, sick, held := f.want.Rollout, "", ""
	if r.Canaries <= 0 {
		return canary{room: everybody}
	}
	var baked []canaryVM
	for _, m := range f.members {
		if m.blocked != nil && m.blocked.Code == R16 {
			held = m.want.Name
		}
		if m.vm == nil || m.vm.Record.Image != f.want.Image.Digest || m.vm.Record.Rolled.IsZero() {
			continue
		}
		if m.up {
			baked = append(baked, canaryVM{m.want.Name, m.vm.Record.Rolled.Add(r.Bake)})
		} else {
			sick = m.want.Name
		}
	}
	slices.SortStableFunc(baked, func(a, b canaryVM) int { return a.done.Compare(b.done) })
	switch {
	case len(baked) >= r.Canaries && !baked[r.Canaries-1].done.After(f.now):
		return canary{room: everybody}
	case held != "":
		return canary{why: "another run is at " + held + ", which may be a canary"}
	case sick != "":
		return canary{why: fmt.Sprintf("canary %s does not serve", sick)}
	case len(baked) < r.Canaries:
		return canary{room: 1}
	}
	baked = baked[:r.Canaries]
	if slices.ContainsFunc(baked, func(c canaryVM) bool { return f.planned[c.name] }) {
		return canary{why: fmt.Sprintf("the new image bakes first, until %s served for %s", have(baked), r.Bake)}
	}
	return canary{why: fmt.Sprintf("the new image bakes on %d VMs first, for %s", r.Canaries, r.Bake), until: baked[r.Canaries-1].done}
}

// canaryVM is a VM that passed its gate on the wanted image.
type canaryVM struct {
	name string
	done time.Time // when it has baked
}

// have names canaries with their verb.
func have(list []canaryVM) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.name
	}
	slices.Sort(names)
	if len(names) == 1 {
		return names[0] + " has"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " have"
}
