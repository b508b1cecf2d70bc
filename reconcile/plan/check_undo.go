package plan

import (
	"fmt"
	"slices"
)

// Rules of Check for a replacement that is undone.

// heir returns the VM that gets the disks of v: its successor, or, on the way back, the VM that it was to replace.
func (c *checker) heir(v VM) *VM {
	if c.roll.Action == Rollback {
		return c.blueOf(v)
	}
	return c.successor(v)
}

// failedHeir tells whether what was to replace v failed.
func (c *checker) failedHeir(v VM) bool {
	g := c.successor(v)
	return g != nil && g.Record.Failed != ""
}

// recall allows a VM to be said to have failed in its successor's stead, and to get back what that one has of it: all
// of it, where it can be found between the two (D5).
func (c *checker) recall(v VM, s Recall) error {
	g := c.successor(v)
	switch {
	case c.roll.Action != Rollback || g == nil || s.Spurned != g.Record.Image:
		return fmt.Errorf("no successor of it, or not with that image, is retired")
	case s.Why == "":
		return fmt.Errorf("no reason: the fleet would not stand still (A7)")
	case g.Record.Generation != v.Record.Generation && len(s.Takes) > 0:
		return fmt.Errorf("it takes back disks that were never its own")
	case g.Record.Generation != v.Record.Generation:
		return nil
	case len(g.Record.Takes) > 0:
		return fmt.Errorf("disks are on their way to %s (D5)", g.Name)
	}
	for _, r := range g.Record.Disks {
		if attached(v, r) == nil && !slices.ContainsFunc(s.Takes, func(t DiskRecord) bool { return t.Name == r.Name && t.UUID == r.UUID }) {
			return fmt.Errorf("it does not take back disk %s (D5)", r.Name)
		}
	}
	for _, t := range s.Takes {
		f, a := c.now.file(t.Path), attached(*g, t)
		if f == nil || SerialOf(f.UUID) != SerialOf(t.UUID) || a != nil && a.Path != t.Path {
			return fmt.Errorf("disk %s could not be found at %s (D5)", t.Name, t.Path)
		}
	}
	return nil
}

// retireBack allows a successor that failed to go: with no disk of the VM it was to replace, and not before that one's
// record says what happened.
func (c *checker) retireBack(v VM) error {
	blue := c.blueOf(v)
	switch {
	case blue == nil || !blue.Record.Retired.IsZero():
		return fmt.Errorf("what it was to replace is not in use")
	case blue.Record.Failed == "" || blue.Record.Spurned != v.Record.Image:
		return fmt.Errorf("the record of %s does not say that it failed (A7)", blue.Name)
	case len(blue.Record.Takes) > 0 || len(v.Record.Takes) > 0:
		return fmt.Errorf("a disk is on its way between the two (D5)")
	case blue.Record.Generation == v.Record.Generation && len(v.Disks) > 0:
		return fmt.Errorf("it has %d disks of %s (D5)", len(v.Disks), blue.Name)
	}
	return accounted(v)
}
