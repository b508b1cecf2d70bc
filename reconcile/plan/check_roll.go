package plan

import (
	"fmt"
	"slices"
)

// standstill is what forbids every wave: a failed look, a pause, and as many failures as make a fleet stand still, which
// let nothing but rolls back pass (A7).
func (c *checker) standstill(p Plan, o Observed) error {
	if o.Problem != "" {
		return fmt.Errorf("check plan: it acts on a failed look (D8): %s", o.Problem)
	}
	bad, last := 0, ""
	for _, v := range o.VMs {
		switch {
		case v.Fleet != p.Fleet || !v.Record.Retired.IsZero() || failedBefore(o, v):
		case v.Record.Paused:
			return fmt.Errorf("check plan: it acts although %s is paused (A7)", v.Name)
		case v.Record.Failed != "" || c.late(&v):
			bad, last = bad+1, v.Name
		}
	}
	if bad < max(1, p.MaxFailed) {
		return nil
	}
	for _, w := range p.Waves {
		if slices.ContainsFunc(w.Rolls, func(r Roll) bool { return r.Action != Rollback }) {
			return fmt.Errorf("check plan: it acts although %s failed (A7)", last)
		}
	}
	return nil
}

// failedBefore tells whether a VM's failure is also in the record of the one it was to replace: that is one failure.
func failedBefore(o Observed, v VM) bool {
	return v.Record.Replaces != "" && !v.Record.Paused && slices.ContainsFunc(o.VMs, func(x VM) bool {
		return x.ID == v.Record.Replaces && x.Record.Failed != "" && x.Record.Retired.IsZero()
	})
}

// begun checks what a roll may be about before its steps are looked at: a failed VM is left as it is, but for a roll
// back, and no VM goes for good while another does not serve.
func (c *checker) begun(r Roll) error {
	v := c.now.find(r.VM)
	bad := v != nil && v.Fleet == c.plan.Fleet && (v.Record.Failed != "" || c.failedHeir(*v))
	switch {
	case bad && r.Action != Rollback:
		return fmt.Errorf("its roll failed, and it must be left as it is (A7)")
	case !bad && r.Action == Rollback:
		return fmt.Errorf("a roll back, but no roll failed")
	case r.Action == Retiring && v != nil && v.Power == On && c.gone() > 0:
		return fmt.Errorf("it would go although %d VMs do not serve (A1)", c.gone())
	}
	return nil
}

// mark allows a note only by itself and to a VM that nobody is rolling.
func (c *checker) mark(v VM) error {
	switch {
	case c.roll.Action != Note || len(c.roll.Steps) != 1:
		return fmt.Errorf("a note in the middle of a roll")
	case !v.Record.Started.IsZero():
		return fmt.Errorf("a roll is under way (A6)")
	}
	return nil
}

// drained keeps drains and restores in pairs: nobody else gives a node back its work (A8).
func drained(v VM, s Step) error {
	switch s.(type) {
	case Drain:
		if v.Record.Drained {
			return fmt.Errorf("it is drained already")
		}
	case Restore:
		if !v.Record.Drained {
			return fmt.Errorf("it was not drained by lkv (A8)")
		}
	case Release:
		if v.Record.Drained {
			return fmt.Errorf("it would be left drained (A8)")
		}
	}
	return nil
}

// grow allows a disk of a VM that is off to become larger, and nothing else about it to change (D4).
func grow(v VM, s GrowDisk) error {
	if err := needsOff(v); err != nil {
		return err
	}
	a := attached(v, s.Disk)
	switch {
	case a == nil || !slices.Contains(v.Record.Disks, s.Disk):
		return fmt.Errorf("the disk is not attached, or not the recorded one (D4)")
	case a.Parent || a.Shared:
		return fmt.Errorf("the disk has a snapshot or a parent, or is shared (D4)")
	case s.Bytes <= a.Bytes:
		return fmt.Errorf("%s is not more than %s (D4)", sizeText(s.Bytes), sizeText(a.Bytes))
	}
	return nil
}

// backwards checks that engines do not go back (R04), and that a roll back puts in what ran before, once.
func (c *checker) backwards(v VM, s InsertISO) error {
	r, n := v.Record, s.Record
	if numbers(r.Engine) != nil && (numbers(n.Engine) == nil || older(n.Engine, r.Engine)) {
		return fmt.Errorf("the record would forget that Docker Engine %s has used the disks (R04)", r.Engine)
	}
	if c.roll.Action != Rollback {
		return nil
	}
	switch {
	case r.Previous == "" || n.Image != r.Previous || n.ImageID != r.PreviousID || s.ISO != r.PreviousISO:
		return fmt.Errorf("a roll back to what did not run before")
	case r.Spurned != "" || n.Spurned != r.Image:
		return fmt.Errorf("a roll back that would be rolled back again (A7)")
	case r.Engine != r.EngineWas && older(r.EngineWas, r.Engine):
		return fmt.Errorf("engine %s has used the disks, and the image before had %s (R04)", r.Engine, r.EngineWas)
	}
	return nil
}
