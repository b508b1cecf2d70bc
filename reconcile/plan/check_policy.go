package plan

import (
	"fmt"
	"slices"
	"time"
)

// Rules of Check for what a fleet's policy allows, written from what its words mean. Where Compute knows better, because
// it knows more, they are the milder of the two.

// prepare reads what the plan was made for. A plan under claims of its own must say that.
func (c *checker) prepare() error {
	want := c.plan.Want
	switch {
	case want == nil && c.plan.Claimer == "":
		return nil
	case want == nil || c.plan.Now.IsZero():
		return fmt.Errorf("check plan: it does not say for which fleet or when it was made")
	}
	c.wanted = make(map[string]*WantVM, len(want.VMs))
	for i := range want.VMs {
		c.wanted[want.VMs[i].Name] = &want.VMs[i]
	}
	c.shut = !within(want.Rollout.Window, c.plan.Now)
	return nil
}

// policy holds a wave to the fleet's policy: each of its rolls, and what all together begin.
func (c *checker) policy(w Wave) error {
	if c.wanted == nil {
		return nil
	}
	begun, next := []Roll(nil), 0
	for _, r := range w.Rolls {
		v := c.now.find(r.VM)
		g := c.now.find(GreenName(r.VM))
		if g != nil && (g.Fleet != c.plan.Fleet || g.Record.Replaces == "") {
			g = nil
		}
		if err := c.permitted(r, v, g); err != nil {
			return fmt.Errorf("%s: %w", r.VM, err)
		}
		if c.begins(r, v, g) {
			begun = append(begun, r)
			if c.up(v) && v.Record.Image != c.plan.Want.Image.Digest && r.Action != Retiring {
				next++
			}
		}
	}
	if len(begun) == 0 {
		return nil
	}
	if err := c.brake(begun); err != nil {
		return err
	}
	return c.canaries(next)
}

// begins tells whether a roll is about a place at which nothing is halfway.
func (c *checker) begins(r Roll, v, g *VM) bool {
	switch {
	case r.Action == Rollback || r.Action == Note || g != nil:
		return false
	case v == nil:
		return true
	}
	return v.Record.Started.IsZero() && !v.Record.Drained
}

// permitted is what holds for a roll by itself.
func (c *checker) permitted(r Roll, v, g *VM) error {
	if r.Action == Rollback {
		return nil
	}
	for _, x := range []*VM{v, g} {
		if x != nil && c.late(x) {
			return fmt.Errorf("its roll began %s ago, progress_deadline is %s: it must be left as it is (A7)",
				c.plan.Now.Sub(x.Record.Started), c.plan.Want.Rollout.Progress)
		}
	}
	if r.Action == Retiring {
		if n, most := c.surplus(), c.plan.Want.Rollout.ScaleIn; n > most {
			return fmt.Errorf("%d VMs are not wanted any more, and %d may go at once (R14)", n, most)
		}
	}
	if c.shut && g == nil && c.disturbs(r, v) {
		return fmt.Errorf("it serves, and the window is shut (R13)")
	}
	if c.begins(r, v, g) {
		return c.first(r, v)
	}
	return nil
}

// first is what must hold before a roll is begun.
func (c *checker) first(r Roll, v *VM) error {
	want := c.plan.Want
	switch {
	case len(want.Targets) > 0 && !slices.Contains(want.Targets, r.VM):
		return fmt.Errorf("it is not among the targets")
	case v == nil:
		return nil
	case v.Record.Spurned != "" && v.Record.Spurned == want.Image.Digest && v.Record.Image != want.Image.Digest && r.Action != Retiring:
		return fmt.Errorf("image %s was rolled back here (A7)", short(v.Record.Spurned))
	case r.Action != Retiring && v.Power == On && !c.up(v) && c.gone() > c.plan.MaxUnavailable:
		return fmt.Errorf("%d VMs do not serve, max_unavailable is %d: they may only be out of sight (R12)", c.gone(), c.plan.MaxUnavailable)
	}
	return c.afresh(r, v)
}

// afresh is what must hold before a VM is booted although nothing differs.
func (c *checker) afresh(r Roll, v *VM) error {
	p, ill := c.plan.Want.Rollout, v.Record.Ill
	switch {
	case r.Action == Reboot && (p.MaxAge <= 0 || v.Age <= p.MaxAge):
		return fmt.Errorf("it has run for %s, max_age is %s", v.Age, p.MaxAge)
	case r.Action == HealVM && (p.Heal <= 0 || ill.IsZero() || c.plan.Now.Sub(ill) < p.Heal):
		return fmt.Errorf("it has not failed to serve for %s (heal_after)", p.Heal)
	case r.Action == HealVM && c.up(v):
		return fmt.Errorf("it serves, and would be healed (A1)")
	}
	return nil
}

// late tells whether a roll has been under way for longer than it may: it counts as failed.
func (c *checker) late(v *VM) bool {
	if c.wanted == nil || v.Fleet != c.plan.Fleet {
		return false
	}
	r, most := &v.Record, c.plan.Want.Rollout.Progress
	return most > 0 && r.Failed == "" && r.Retired.IsZero() && !r.Started.IsZero() && c.plan.Now.Sub(r.Started) > most
}

// surplus counts the VMs that are not wanted any more, and that this run may let go.
func (c *checker) surplus() int {
	n, targets := 0, c.plan.Want.Targets
	for i := range c.now.VMs {
		v := &c.now.VMs[i]
		if v.Fleet == c.plan.Fleet && v.Record.Retired.IsZero() && v.Record.Replaces == "" && c.wanted[v.Name] == nil &&
			(len(targets) == 0 || slices.Contains(targets, v.Name)) {
			n++
		}
	}
	return n
}

// disturbs tells whether a roll takes a VM's work away that has it now, or lets one go.
func (c *checker) disturbs(r Roll, v *VM) bool {
	switch {
	case v == nil:
		return false
	case r.Action == Retiring:
		return v.Record.Started.IsZero() || v.Power == On
	case !c.up(v):
		return false
	}
	return slices.ContainsFunc(r.Steps, func(s Step) bool {
		switch s.(type) {
		case Shutdown, Drain:
			return true
		}
		return isGreen(s)
	})
}

// up is serves, and what else the fleet asks of a VM that serves.
func (c *checker) up(v *VM) bool {
	if v == nil || !serves(v) {
		return false
	}
	w := c.wanted[v.Name]
	if w == nil {
		return true
	}
	p := c.plan.Want.Rollout
	if !p.NoTools && !v.Guest.Tools || v.Guest.ImageID != v.Record.ImageID {
		return false
	}
	for _, d := range w.Disks {
		if d.Mount != "" && !p.NoMounted && !mounts(v, d) {
			return false
		}
	}
	return true
}

// mounts tells whether a guest has the data disk of that name mounted where it belongs.
func mounts(v *VM, d WantDisk) bool {
	for _, r := range v.Record.Disks {
		for _, a := range v.Disks {
			if r.Name != d.Name || !isDisk(a, r) {
				continue
			}
			return slices.ContainsFunc(v.Guest.Mounts, func(m GuestMount) bool { return m.Path == d.Mount && sameUUID(m.Serial, a.UUID) })
		}
	}
	return false
}

// within tells whether a window is open: whether the clock on its wall shows a time of it. Where that clock is changed
// within a day it is read both ways, because it shows an hour twice or never then.
func within(w *Window, now time.Time) bool {
	if w == nil {
		return true
	}
	zone := w.Zone
	if zone == nil {
		zone = time.UTC
	}
	for _, near := range []time.Duration{0, -24 * time.Hour, 24 * time.Hour} {
		_, offset := now.Add(near).In(zone).Zone()
		wall := now.In(time.FixedZone("", offset))
		clock := time.Duration(wall.Hour())*time.Hour + time.Duration(wall.Minute())*time.Minute + time.Duration(wall.Second())*time.Second
		today, before := opens(w, wall.Weekday()), opens(w, (wall.Weekday()+6)%7)
		late := w.To <= w.From // it reaches into the next day
		switch {
		case today && clock >= w.From && (late || clock < w.To), before && late && clock < w.To:
			return true
		}
	}
	return false
}

// opens tells whether a window opens on a day of the week.
func opens(w *Window, day time.Weekday) bool { return len(w.Days) == 0 || slices.Contains(w.Days, day) }
