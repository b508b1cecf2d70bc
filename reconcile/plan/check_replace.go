package plan

import (
	"fmt"
	"slices"
	"strings"
)

// partner tells whether a roll may have a step about another VM than its own: the green one of a blue-green roll.
func (c *checker) partner(r Roll, s Step) bool {
	return (r.Action == Replace || r.Action == Finish || r.Action == Rollback) && s.VM() == GreenName(r.VM)
}

// ended tells whether a roll's last step leaves no claim behind.
func ended(r Roll) bool {
	last := r.Steps[len(r.Steps)-1]
	var ok bool
	switch r.Action {
	case Retiring:
		_, ok = last.(Retire)
	case Remove:
		_, ok = last.(DestroyVM)
	case Stop:
		_, ok = last.(Pause)
	case TakeOver:
		_, ok = last.(Adopt)
	case LetGo:
		_, ok = last.(Forget)
	case Note:
		_, ok = last.(Mark)
	default:
		_, ok = last.(Release)
	}
	return ok
}

// replacement checks the steps that put one VM in the place of another, and those that only a person asks for.
func (c *checker) replacement(v VM, s Step) error {
	switch s := s.(type) {
	case DetachDisk:
		return c.detach(v, s)
	case Disown:
		return c.disown(v, s)
	case Retire:
		return c.retire(v, s)
	case Rename:
		return c.rename(v, s)
	case Recall:
		return c.recall(v, s)
	case DestroyVM:
		return c.destroy(v)
	case Forget:
		if c.roll.Action != LetGo {
			return fmt.Errorf("only a person lets a VM go")
		}
		return nil
	}
	return fmt.Errorf("unknown kind of step %T: it may touch a disk (D1)", s)
}

// surge counts green VMs, those there are and those a wave makes (A2).
func (c *checker) surge(w Wave) error {
	n := 0
	for i := range c.now.VMs {
		if v := &c.now.VMs[i]; v.Record.Replaces != "" && v.Fleet == c.plan.Fleet && v.Record.Retired.IsZero() {
			n++
		}
	}
	there := n
	for _, r := range w.Rolls {
		for _, s := range r.Steps {
			if m, ok := s.(CreateVM); ok && m.Record.Replaces != "" {
				n++
			}
		}
	}
	if n > there && n > c.plan.Surge {
		return fmt.Errorf("%d VMs above the fleet's size, surge is %d (A2)", n, c.plan.Surge)
	}
	return nil
}

// darkens tells whether a place serves, by its VM or by the one that is to take it, and neither does at some time of a
// roll.
func (c *checker) darkens(r Roll) bool {
	if !slices.ContainsFunc(r.Steps, isShutdown) {
		return false
	}
	green := GreenName(r.VM)
	blueUp, greenUp := c.up(c.now.find(r.VM)), c.up(c.now.find(green))
	for _, s := range r.Steps {
		if !blueUp && !greenUp {
			return false
		}
		_, gate := s.(AwaitReady)
		switch {
		case !gate && !isShutdown(s):
			continue
		case s.VM() == green:
			greenUp = gate
		default:
			blueUp = gate
		}
		if !blueUp && !greenUp {
			return true
		}
	}
	return false
}

// gone counts members that do not serve: neither their VM nor the one that is to take its place. Two VMs of one name are
// one place.
func (c *checker) gone() int {
	var names []string
	for i := range c.now.VMs {
		v := &c.now.VMs[i]
		if v.Fleet == c.plan.Fleet && v.Record.Retired.IsZero() && !serves(v) &&
			!slices.Contains(c.plan.Extra, v.Name) && !slices.Contains(names, v.Name) && !c.counted(v) {
			names = append(names, v.Name)
		}
	}
	return len(names)
}

// counted tells of a VM that does not serve whether its place serves all the same, or is counted with another VM.
func (c *checker) counted(v *VM) bool {
	for i := range c.now.VMs {
		x := &c.now.VMs[i]
		switch {
		case x.Fleet != v.Fleet || !x.Record.Retired.IsZero():
		case v.ID != "" && x.Record.Replaces == v.ID && serves(x): // blue, and green serves
			return true
		case v.Record.Replaces != "" && x.ID == v.Record.Replaces: // green: blue is counted
			return true
		}
	}
	return false
}

// successor returns the VM that is to take the place of v, or nil.
func (c *checker) successor(v VM) *VM {
	for i := range c.now.VMs { // a VM is large: it is not copied to be looked at
		if x := &c.now.VMs[i]; v.ID != "" && x.Record.Replaces == v.ID && x.Fleet == c.plan.Fleet && x.Record.Retired.IsZero() {
			return x
		}
	}
	return nil
}

// blueOf returns the VM that v is to replace, or nil.
func (c *checker) blueOf(v VM) *VM {
	for i := range c.now.VMs {
		if x := &c.now.VMs[i]; x.ID != "" && x.ID == v.Record.Replaces && x.Fleet == c.plan.Fleet {
			return x
		}
	}
	return nil
}

// createGreen allows a VM beside the one it is to replace. What it takes over must be that VM's, all of it, and lie
// where it can be found between the two (D5).
func (c *checker) createGreen(s CreateVM) error {
	blue := c.blueOf(VM{Record: s.Record})
	switch {
	case blue == nil || s.VM() != GreenName(blue.Name) || s.Want.Ordinal != blue.Ordinal:
		return fmt.Errorf("it is to replace %s, which is not the VM it stands beside", s.Record.Replaces)
	case blue.Record.Owner == "" || blue.Record.Owner != s.Record.Owner:
		return fmt.Errorf("a successor of %s without a claim on it (A6)", blue.Name)
	case !blue.Record.Retired.IsZero() || c.successor(*blue) != nil:
		return fmt.Errorf("%s is retired, or has a successor", blue.Name)
	case s.Record.Generation < blue.Record.Generation:
		return fmt.Errorf("generation %d after %d (D7)", s.Record.Generation, blue.Record.Generation)
	case s.Record.Generation > blue.Record.Generation && len(s.Record.Takes) > 0:
		return fmt.Errorf("a VM with blank disks takes over disks")
	}
	if s.Record.Generation == blue.Record.Generation {
		if len(s.Record.Takes) != len(blue.Record.Disks) {
			return fmt.Errorf("it takes over %d of %d disks (D5)", len(s.Record.Takes), len(blue.Record.Disks))
		}
		for _, t := range s.Record.Takes {
			a, f := attached(*blue, t), c.now.file(t.Path)
			if a == nil || a.Path != t.Path || f == nil || SerialOf(f.UUID) != SerialOf(a.UUID) {
				return fmt.Errorf("disk %s that it takes over is not %s's, or not at %s (D5)", t.Name, blue.Name, t.Path)
			}
		}
	}
	s.Want.Disks = s.Want.Disks[min(len(s.Record.Takes), len(s.Want.Disks)):] // the rest it must be born with
	return c.createVM(s)
}

// attachTaken allows the second half of a move: the first VM is off and has let the disk go.
func (c *checker) attachTaken(v VM, s AttachDisk) error {
	blue := c.blueOf(v)
	if c.roll.Action == Rollback {
		blue = c.successor(v)
	}
	switch {
	case blue == nil || blue.Power != Off:
		return fmt.Errorf("the VM it comes from is not there, or not off (D3)")
	case !slices.ContainsFunc(v.Record.Takes, func(d DiskRecord) bool { return d.Path == s.Disk.Path && d.UUID == s.Disk.UUID }):
		return fmt.Errorf("the disk is not one the record says it takes over (D5)")
	}
	v.Record.Disks = append(slices.Clone(v.Record.Disks), s.Disk)
	return c.attach(v, s)
}

// alone asks of a VM that is powered on that it does not share its place: a successor has every disk, and the VM
// before it is off or has disks of its own.
func (c *checker) alone(v VM) error {
	if len(v.Record.Takes) > 0 {
		return fmt.Errorf("%d disks that it takes over are not attached (D6)", len(v.Record.Takes))
	}
	if !v.Record.Retired.IsZero() {
		return fmt.Errorf("it is retired")
	}
	for i := range c.now.VMs {
		x := &c.now.VMs[i]
		for _, d := range v.Disks {
			has := func(y Disk) bool { return isDisk(y, DiskRecord{UUID: d.UUID, Path: d.Path}) }
			if (x.Name != v.Name || x.ID != v.ID) && slices.ContainsFunc(x.Disks, has) {
				return fmt.Errorf("%s has disk %s too (D3)", x.Name, d.Path)
			}
		}
	}
	for _, x := range []*VM{c.blueOf(v), c.successor(v)} {
		if x != nil && x.Power != Off && x.Record.Generation == v.Record.Generation {
			return fmt.Errorf("%s has the same place and is %s (D3)", x.Name, x.Power)
		}
	}
	return nil
}

// shutdown keeps a VM that serves until a successor with disks of its own does (A1).
func (c *checker) shutdown(v VM) error {
	g := c.successor(v)
	if g != nil && serves(&v) && !serves(g) && g.Record.Generation != v.Record.Generation {
		return fmt.Errorf("its successor %s does not serve yet (A1)", g.Name)
	}
	return nil
}

// detach allows the first half of a move, and the emptying of a retired VM that is to be removed.
func (c *checker) detach(v VM, s DetachDisk) error {
	if err := needsOff(v); err != nil {
		return err
	}
	a, f := attached(v, s.Disk), c.now.file(s.Disk.Path)
	switch {
	case a == nil || a.Path != s.Disk.Path:
		return fmt.Errorf("the disk is not attached, or lies elsewhere")
	case f == nil || SerialOf(f.UUID) != SerialOf(a.UUID):
		return fmt.Errorf("its file could not be found afterwards (D5)")
	case c.roll.Action == Remove:
		return c.retired(v)
	}
	g := c.heir(v)
	if g == nil || !slices.ContainsFunc(g.Record.Takes, func(d DiskRecord) bool { return d.Path == a.Path && SerialOf(d.UUID) == SerialOf(a.UUID) }) {
		return fmt.Errorf("no successor's record names the disk (D5)")
	}
	return nil
}

// disown allows a record to lose what its successor has attached and in its record (D5).
func (c *checker) disown(v VM, s Disown) error {
	g := c.heir(v)
	if g == nil || s.Successor != g.ID {
		return fmt.Errorf("it has no successor, or another one (D5)")
	}
	for _, r := range v.Record.Disks {
		if attached(*g, r) == nil || !slices.ContainsFunc(g.Record.Disks, func(d DiskRecord) bool {
			return d.Path == r.Path || d.UUID != "" && SerialOf(d.UUID) == SerialOf(r.UUID)
		}) {
			return fmt.Errorf("disk %s is not with %s yet (D5)", r.Name, g.Name)
		}
	}
	return nil
}

// retire allows a VM to go that another one has replaced, or that is not wanted any more.
func (c *checker) retire(v VM, s Retire) error {
	if err := needsOff(v); err != nil {
		return err
	}
	switch {
	case s.At.IsZero() || !strings.HasPrefix(s.To, v.Name+retiredInfix) || c.now.find(s.To) != nil:
		return fmt.Errorf("no time, or no free name")
	case c.roll.Action == Retiring:
		if c.wanted[v.Name] != nil || !slices.Contains(c.plan.Extra, v.Name) {
			return fmt.Errorf("the VM is wanted")
		}
		return accounted(v)
	case c.roll.Action == Rollback:
		return c.retireBack(v)
	}
	g := c.successor(v)
	switch {
	case g == nil || !serves(g) || g.Record.Image == "":
		return fmt.Errorf("no successor serves (A4)")
	case len(g.Record.Takes) > 0:
		return fmt.Errorf("its successor has not got every disk (D5)")
	case v.Record.Drained && !g.Record.Drained && g.Record.Generation == v.Record.Generation:
		return fmt.Errorf("its node lives on with %s and would be left drained (A8)", g.Name)
	}
	return accounted(v)
}

// accounted asks that a VM that goes out of use has exactly the disks its record says.
func accounted(v VM) error {
	for _, r := range v.Record.Disks {
		if attached(v, r) == nil {
			return fmt.Errorf("recorded disk %s is not attached (D5)", r.Name)
		}
	}
	if len(v.Disks) != len(v.Record.Disks) {
		return fmt.Errorf("%d disks are attached, %d recorded (D5)", len(v.Disks), len(v.Record.Disks))
	}
	return nil
}

// rename allows a name to a successor only when it is free.
func (c *checker) rename(v VM, s Rename) error {
	blue := c.blueOf(v)
	switch {
	case blue == nil || blue.Record.Retired.IsZero():
		return fmt.Errorf("what it is to replace is in use")
	case s.To != c.roll.VM || c.now.find(s.To) != nil:
		return fmt.Errorf("the name %s is not free, or not its place's", s.To)
	case !serves(&v) || len(v.Record.Takes) > 0:
		return fmt.Errorf("it does not serve (A4)")
	}
	return nil
}

// retired asks of a VM that is to be removed that it is out of use, for everybody.
func (c *checker) retired(v VM) error {
	switch {
	case c.roll.Action != Remove:
		return fmt.Errorf("only a person removes a VM (D1)")
	case v.Record.Retired.IsZero():
		return fmt.Errorf("the VM is not retired (D2)")
	case c.successor(v) != nil:
		return fmt.Errorf("its successor has not got its place yet")
	}
	return needsOff(v)
}

// destroy allows only an empty VM to go, in whose folder no data disk of anybody lies (D2, L9).
func (c *checker) destroy(v VM) error {
	if err := c.retired(v); err != nil {
		return err
	}
	if len(v.Disks) > 0 {
		return fmt.Errorf("%d disks are attached (D2)", len(v.Disks))
	}
	if v.Home == "" {
		return fmt.Errorf("its folder is not known: a data disk may lie there (D2)")
	}
	within := func(path string) error {
		if strings.HasPrefix(path, strings.TrimSuffix(v.Home, "/")+"/") {
			return fmt.Errorf("data disk %s lies in its folder (D2)", path)
		}
		return nil
	}
	for _, f := range c.now.Files {
		if err := within(f.Path); err != nil {
			return err
		}
	}
	for _, x := range c.now.VMs {
		for _, d := range x.Disks {
			if err := within(d.Path); err != nil {
				return err
			}
		}
		for _, r := range slices.Concat(x.Record.Disks, x.Record.Takes) {
			if err := within(r.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// asked checks the steps that need no claim and that only a person asks for.
func (c *checker) asked(s Step) error {
	v := c.now.find(s.VM())
	if v == nil {
		return fmt.Errorf("the VM does not exist")
	}
	a, adopts := s.(Adopt)
	switch {
	case !adopts && (c.roll.Action != Stop || v.Fleet != c.plan.Fleet):
		return fmt.Errorf("only a person pauses, and a fleet of theirs")
	case !adopts:
		return nil
	case c.roll.Action != TakeOver || a.Fleet != c.plan.Fleet || a.Fleet == "":
		return fmt.Errorf("only a person gives a VM to a fleet")
	case v.Fleet != "":
		return fmt.Errorf("the VM belongs to fleet %s", v.Fleet)
	case a.To != v.Name && c.now.find(a.To) != nil:
		return fmt.Errorf("the name %s is not free", a.To)
	}
	v = &VM{Disks: v.Disks, Record: a.Record}
	return accounted(*v)
}
