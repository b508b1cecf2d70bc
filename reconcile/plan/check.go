package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Check holds a plan to the safety rules before anything of it is done. It is written without Compute's buckets and
// rules and knows only what After says, so that one mistake in one of them is not enough. Its error names the VM, the
// step and the invariant of design/safety.md that would be broken.
func Check(p Plan, o Observed) error {
	if len(p.Waves) == 0 {
		return nil
	}
	c := checker{plan: p, now: o.Clone(), owner: p.Claimer}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.standstill(p, o); err != nil {
		return err
	}
	for i, w := range p.Waves {
		if err := c.wave(w); err != nil {
			return fmt.Errorf("check wave %d: %w", i+1, err)
		}
	}
	return nil
}

type checker struct {
	plan   Plan
	now    Observed
	roll   Roll               // whose steps are being checked
	owner  string             // of every claim in the plan
	wanted map[string]*WantVM // by name; nil in what a person asks for
	shut   bool               // the window is
}

func (c *checker) wave(w Wave) error {
	for _, rule := range []func(Wave) error{c.capacity, c.surge, shape, c.policy} {
		if err := rule(w); err != nil {
			return err
		}
	}
	for _, r := range w.Rolls {
		c.roll = r
		if err := c.begun(r); err != nil {
			return fmt.Errorf("%s: %w", r.VM, err)
		}
		for _, s := range r.Steps {
			if s.VM() != r.VM && !c.partner(r, s) {
				return fmt.Errorf("%s: step %q is about %s", r.VM, s, s.VM())
			}
			if err := c.step(s); err != nil {
				return fmt.Errorf("%s: step %q: %w", r.VM, s, err)
			}
			c.now.apply(s)
		}
	}
	return nil
}

// shape is what can be said of rolls without looking at the world.
func shape(w Wave) error {
	seen := map[string]bool{}
	for _, r := range w.Rolls {
		switch {
		case seen[r.VM]:
			return fmt.Errorf("%s: it is in one wave twice", r.VM)
		case len(r.Steps) == 0:
			return fmt.Errorf("%s: a roll without steps", r.VM)
		case !ended(r):
			return fmt.Errorf("%s: the roll does not end with a release (A5)", r.VM)
		case r.Action == GiveBack && slices.ContainsFunc(r.Steps, touches):
			return fmt.Errorf("%s: more is done than to give its claim back", r.VM)
		}
		seen[r.VM] = true
	}
	return nil
}

// touches tells the steps that have no place in giving a claim back.
func touches(s Step) bool {
	switch s.(type) {
	case AwaitTask, Claim, Restore, Release:
		return false
	}
	return true
}

// capacity counts what a wave takes away (A1): places that serve and do not for a while, on top of those that do not
// serve anyway.
func (c *checker) capacity(w Wave) error {
	taken := 0
	for _, r := range w.Rolls {
		if r.Action != Retiring && c.darkens(r) {
			taken++
		}
	}
	if taken == 0 {
		return nil
	}
	gone := c.gone()
	if gone+taken > c.plan.MaxUnavailable {
		return fmt.Errorf("%d VMs do not serve and %d more would be shut down, max_unavailable is %d (A1)", gone, taken, c.plan.MaxUnavailable)
	}
	return nil
}

// serves is what can be told without the wish: on, reporting, booted since its last swap, and not waiting for a person.
func serves(v *VM) bool {
	return v.Record.Failed == "" && v.Power == On && v.Guest.State == running && v.Guest.Token == v.Record.Token &&
		!slices.ContainsFunc(v.Guest.Probes, func(p Probe) bool { return !p.OK })
}

func (c *checker) step(s Step) error {
	switch s := s.(type) {
	case CreateDisk:
		return c.createDisk(s)
	case CreateVM:
		if s.Record.Replaces != "" {
			return c.createGreen(s)
		}
		return c.createVM(s)
	case Pause, Adopt:
		return c.asked(s)
	}
	v := c.now.find(s.VM())
	switch {
	case v == nil:
		return fmt.Errorf("the VM does not exist")
	case v.Fleet != c.plan.Fleet || c.plan.Fleet == "":
		return fmt.Errorf("the VM belongs to fleet %q, not %q", v.Fleet, c.plan.Fleet)
	case len(v.Busy) > 0 || v.Power == Suspended:
		return fmt.Errorf("the VM is busy (R08)")
	}
	switch s := s.(type) {
	case AwaitTask, AwaitReady:
		return nil
	case Claim:
		return c.claim(*v, s)
	case Mark:
		return c.mark(*v)
	}
	if v.Task != "" {
		return fmt.Errorf("task %s is still running", v.Task)
	}
	if v.Record.Owner == "" || v.Record.Expires.IsZero() {
		return fmt.Errorf("a change without a claim (A6)")
	}
	if err := c.sameOwner(v.Record.Owner); err != nil {
		return err
	}
	return c.change(*v, s)
}

// change checks the steps that need a claim.
func (c *checker) change(v VM, s Step) error {
	switch s := s.(type) {
	case Shutdown:
		return c.shutdown(v)
	case Release, Drain, Restore:
		return drained(v, s)
	case GrowDisk:
		return grow(v, s)
	case Fail:
		return fmt.Errorf("a failure cannot be planned")
	case Unblock:
		return fmt.Errorf("only a person lets a fleet go again (A7)")
	case AttachDisk:
		if len(v.Record.Takes) > 0 {
			return c.attachTaken(v, s)
		}
		return c.attach(v, s)
	case InstallKey:
		return installKey(v, s)
	case Resize, EnableSecureBoot:
		return needsOff(v)
	case InsertISO:
		if err := c.backwards(v, s); err != nil {
			return err
		}
		return insert(v, s)
	case PowerOn:
		if err := c.alone(v); err != nil {
			return err
		}
		return powerOn(v)
	}
	return c.replacement(v, s)
}

func (c *checker) sameOwner(owner string) error {
	if c.owner == "" {
		c.owner = owner
	}
	if c.owner != owner {
		return fmt.Errorf("it acts under the claims of %s and %s (A6)", c.owner, owner)
	}
	return nil
}

func (c *checker) claim(v VM, s Claim) error {
	if r := v.Record; r.Owner != "" && r.Owner != s.Owner && c.plan.Now.Before(r.Expires) && !c.plan.Now.IsZero() {
		return fmt.Errorf("the claim of %s is alive for another %s (A6)", r.Owner, r.Expires.Sub(c.plan.Now))
	}
	if s.Epoch <= v.Record.Epoch && (s.Epoch != v.Record.Epoch || s.Owner != v.Record.Owner) {
		return fmt.Errorf("epoch %d after %d of %s (A6)", s.Epoch, v.Record.Epoch, v.Record.Owner)
	}
	if s.Owner == "" || s.Started.IsZero() || s.Expires.IsZero() {
		return fmt.Errorf("a claim without owner, start or expiry (A6)")
	}
	return c.sameOwner(s.Owner)
}

// createDisk allows a data disk file only where none has ever been (D7).
func (c *checker) createDisk(s CreateDisk) error {
	if !strings.HasPrefix(inDatastore(s.Path), DiskFolder+"/"+c.plan.Fleet+"/") || !strings.HasSuffix(s.Path, ".vmdk") {
		return fmt.Errorf("the path is outside of %s/%s", DiskFolder, c.plan.Fleet)
	}
	if c.now.find(s.VM()) != nil {
		return fmt.Errorf("the VM exists: what its record does not name must not be made up (D7)")
	}
	for _, f := range c.now.Files {
		if inDatastore(f.Path) == inDatastore(s.Path) {
			return fmt.Errorf("the file exists as %s (D7)", f.Path)
		}
	}
	if slices.ContainsFunc(c.now.Made, func(m string) bool { return inDatastore(m) == inDatastore(s.Path) }) {
		return fmt.Errorf("the disk was made once (D7)")
	}
	for _, v := range c.now.VMs {
		for _, d := range v.Disks {
			if inDatastore(d.Path) == inDatastore(s.Path) {
				return fmt.Errorf("VM %s has this disk (D7)", v.Name)
			}
		}
		for _, d := range slices.Concat(v.Record.Disks, v.Record.Takes) {
			if inDatastore(d.Path) == inDatastore(s.Path) {
				return fmt.Errorf("VM %s has this disk in its record (D7)", v.Name)
			}
		}
	}
	return nil
}

func (c *checker) createVM(s CreateVM) error {
	switch {
	case c.now.find(s.VM()) != nil:
		return fmt.Errorf("a VM of this name exists")
	case s.Fleet != c.plan.Fleet || s.Want.Name != s.VM():
		return fmt.Errorf("it makes %s of fleet %s", s.Want.Name, s.Fleet)
	case s.ISO == "" || s.Record.Image == "" || s.Record.Token == "":
		return fmt.Errorf("no ISO, image or token (D6)")
	case s.Record.Owner == "" || s.Record.Started.IsZero() || s.Record.Expires.IsZero():
		return fmt.Errorf("the VM would be born without a claim (A6)")
	case len(s.Record.Disks) != len(s.Want.Disks):
		return fmt.Errorf("the record names %d of %d disks (D5)", len(s.Record.Disks), len(s.Want.Disks))
	}
	for _, d := range s.Record.Disks {
		f := c.now.file(d.Path)
		if f == nil {
			return fmt.Errorf("the record names %s, which does not exist (D5)", d.Path)
		}
		if user := c.userOf(*f); user != "" {
			return fmt.Errorf("VM %s has disk %s, attached or in its record (D3)", user, f.Path)
		}
		if err := c.newest(s, d); err != nil {
			return err
		}
	}
	return c.sameOwner(s.Record.Owner)
}

// newest keeps a VM from disks that are not its place's last ones: one that takes another's place with blank disks from
// those that were used before, and one that is made again from older ones than were (D7).
func (c *checker) newest(s CreateVM, d DiskRecord) error {
	stem, _ := strings.CutSuffix(inDatastore(d.Path), ".vmdk")
	if n := s.Record.Generation; n > 0 {
		stem = strings.TrimSuffix(stem, fmt.Sprintf("-g%d", n))
	}
	for _, m := range c.now.Made {
		used, n := inDatastore(m), 0
		rest, ok := strings.CutPrefix(used, stem+"-g")
		if _, err := fmt.Sscanf(rest, "%d.vmdk", &n); !ok || err != nil {
			n = 0
		}
		switch {
		case s.Record.Replaces != "" && used == inDatastore(d.Path):
			return fmt.Errorf("disk %s was used before, it is not blank (D7)", d.Path)
		case s.Record.Replaces == "" && n > s.Record.Generation && !c.spare(used) && !ownDisk(s, used):
			return fmt.Errorf("disk %s is not the newest of its place, %s was used (D7)", d.Path, used)
		}
	}
	return nil
}

// spare tells whether a VM has a disk that was retired without ever having had the place it was made for.
func (c *checker) spare(path string) bool {
	return slices.ContainsFunc(c.now.VMs, func(v VM) bool {
		return v.Record.Replaces != "" && !v.Record.Retired.IsZero() &&
			slices.ContainsFunc(v.Record.Disks, func(d DiskRecord) bool { return inDatastore(d.Path) == path })
	})
}

// ownDisk tells whether a path is that of another disk of a VM that is made: names may end like generations.
func ownDisk(s CreateVM, path string) bool {
	return slices.ContainsFunc(s.Record.Disks, func(d DiskRecord) bool { return inDatastore(d.Path) == path })
}

// userOf names a VM that has the file attached or in its record, by path or by UUID.
func (c *checker) userOf(f DiskFile) string {
	has := func(path, uuid string) bool {
		return path == f.Path || f.UUID != "" && SerialOf(uuid) == SerialOf(f.UUID)
	}
	for _, v := range c.now.VMs {
		if slices.ContainsFunc(v.Disks, func(d Disk) bool { return has(d.Path, d.UUID) }) ||
			slices.ContainsFunc(slices.Concat(v.Record.Disks, v.Record.Takes), func(d DiskRecord) bool { return has(d.Path, d.UUID) }) {
			return v.Name
		}
	}
	return ""
}

func (c *checker) attach(v VM, s AttachDisk) error {
	if err := needsOff(v); err != nil {
		return err
	}
	if !slices.ContainsFunc(v.Record.Disks, func(d DiskRecord) bool { return d.Path == s.Disk.Path }) {
		return fmt.Errorf("the disk is not in the VM's record (D5)")
	}
	f := c.now.file(s.Disk.Path)
	if f == nil || s.Disk.UUID != "" && SerialOf(f.UUID) != SerialOf(s.Disk.UUID) {
		return fmt.Errorf("the file is not there, or is another disk (D7)")
	}
	for _, other := range c.now.VMs {
		for _, d := range other.Disks {
			if d.Path == f.Path || f.UUID != "" && SerialOf(d.UUID) == SerialOf(f.UUID) {
				return fmt.Errorf("the disk is attached to %s (D3)", other.Name)
			}
		}
	}
	return nil
}
