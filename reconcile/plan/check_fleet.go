package plan

import (
	"fmt"
	"slices"
	"time"
)

// Rules of Check for what may be begun at all, in view of the whole fleet.

// brake lets nothing be begun while so many VMs do not serve, and not because of a roll, that one cause is likely (R12).
func (c *checker) brake(begun []Roll) error {
	bearable := max(c.plan.MaxUnavailable, (len(c.wanted)+4)/5)
	if c.plan.Want.Rollout.NoBrake || c.mostLost() <= bearable {
		return nil
	}
	if !c.inhabited() { // a run that died while it made the fleet leaves as many disks as it makes at once
		bearable = max(bearable, parallel)
	}
	if lost := c.lost(); lost > bearable {
		return fmt.Errorf("%s: it is begun although %d of %d do not serve, and not because of a roll; %d may (R12)", begun[0].VM, lost, len(c.wanted), bearable)
	}
	return nil
}

// mostLost is how many VMs can be lost at most: those that do not serve, and those that are not there.
func (c *checker) mostLost() int {
	silent, there := 0, 0
	for i := range c.now.VMs {
		v := &c.now.VMs[i]
		if v.Fleet != c.plan.Fleet || !v.Record.Retired.IsZero() || v.Record.Replaces != "" {
			continue
		}
		if there++; !serves(v) {
			silent++
		}
	}
	return silent + max(0, len(c.wanted)+len(c.plan.Extra)-there)
}

// lost counts the places whose VM does not serve without lkv's doing, or vanished. One that vanished may be what a run
// left that died while it made it.
func (c *checker) lost() int {
	named, replaced, last := map[string]*VM{}, map[int]bool{}, 0
	for i := range c.now.VMs {
		v := &c.now.VMs[i]
		if named[v.Name] == nil {
			named[v.Name] = v
		}
		if v.Fleet == c.plan.Fleet && v.Record.Retired.IsZero() {
			replaced[v.Ordinal] = replaced[v.Ordinal] || v.Record.Replaces != ""
			last = max(last, v.Ordinal)
		}
	}
	files, silent, vanished := c.files(), 0, 0
	for name, w := range c.wanted {
		switch v := named[name]; {
		case replaced[w.Ordinal]:
		case v == nil:
			known := func(d WantDisk) bool { return files[inDatastore(DiskPath(c.plan.Fleet, *w, d))] }
			if slices.ContainsFunc(w.Disks, known) || len(w.Disks) == 0 && last > w.Ordinal {
				vanished++
			}
		case v.Fleet == c.plan.Fleet && !serves(v) && c.idle(v):
			silent++
		}
	}
	return silent + max(0, vanished-1)
}

// files returns every data disk that is known of, by its path without datastore, but for those of retired VMs.
func (c *checker) files() map[string]bool {
	out := map[string]bool{}
	for _, m := range c.now.Made {
		out[m] = true
	}
	for _, f := range c.now.Files {
		out[inDatastore(f.Path)] = true
	}
	for i := range c.now.VMs { // what a retired VM has did not vanish
		if v := &c.now.VMs[i]; v.Fleet == c.plan.Fleet && !v.Record.Retired.IsZero() {
			for _, path := range pathsOf(*v) {
				delete(out, inDatastore(path))
			}
		}
	}
	return out
}

// idle tells whether nobody is doing anything with a VM, and it waits for nobody.
func (c *checker) idle(v *VM) bool {
	r := &v.Record
	return r.Retired.IsZero() && r.Started.IsZero() && r.Failed == "" &&
		(r.Owner == "" || r.Owner == c.plan.Claimer || !c.plan.Now.Before(r.Expires))
}

// inhabited tells whether a VM of the fleet was in use before this hour.
func (c *checker) inhabited() bool {
	for i := range c.now.VMs {
		v := &c.now.VMs[i]
		r := &v.Record
		known := r.Rolled.IsZero() && r.Started.IsZero() || !r.Rolled.IsZero() && c.plan.Now.Sub(r.Rolled) > inhabited
		if known && v.Fleet == c.plan.Fleet && r.Retired.IsZero() {
			return true
		}
	}
	return false
}

// canaries lets a number of VMs that serve go on to the wanted image: all when enough others have run it for the time to
// bake, one when there are too few of them, and none while they bake or while one of them does not serve.
func (c *checker) canaries(next int) error {
	p := c.plan.Want.Rollout
	if next == 0 || p.Canaries <= 0 {
		return nil
	}
	passed, baked, sick := 0, 0, ""
	for i := range c.now.VMs {
		v := &c.now.VMs[i]
		r := &v.Record
		switch {
		case r.Image != c.plan.Want.Image.Digest || r.Rolled.IsZero() || r.Replaces != "" || !r.Retired.IsZero():
		case v.Fleet != c.plan.Fleet || c.wanted[v.Name] == nil:
		case !serves(v) && !c.counted(v):
			sick = v.Name
		default:
			if passed++; c.plan.Now.Sub(r.Rolled) >= p.Bake {
				baked++
			}
		}
	}
	switch {
	case baked >= p.Canaries:
		return nil
	case sick != "":
		return fmt.Errorf("canary %s does not serve, and %d more VMs would get the image", sick, next)
	case passed >= p.Canaries:
		return fmt.Errorf("%d of %d canaries have run the image for %s, and %d more VMs would get it", baked, p.Canaries, p.Bake.Round(time.Second), next)
	case next > 1:
		return fmt.Errorf("%d VMs would get the image at once, and only %d of %d canaries have", next, passed, p.Canaries)
	}
	return nil
}
