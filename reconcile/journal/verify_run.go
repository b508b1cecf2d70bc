package journal

import (
	"encoding/json"
	"slices"
)

// checkRun is D8 and the rules of the rollout, for one call.
func (v *verifier) checkRun(l Line, c *call, m *vm) {
	if v.out.Head.Command == "plan" {
		v.check("A10", c.line, false, "plan sent %s", c.Method)
	}
	for _, k := range c.Extra {
		v.check("A13", c.line, k.Value == "" || len(k.Key) > 4 && k.Key[:4] == "lkv.", "it holds the value of %s", k.Key)
	}
	if c.Method == "CreateVM_Task" {
		v.checkCount(c)
	}
	if m == nil {
		return
	}
	v.checkFresh(c, m)
	if m.look == nil {
		return
	}
	v.checkIdle(c, m)
	if c.adopts() {
		v.checkAdoption(l, c, m)
		return
	}
	f, ok := v.fleets[c.Target.VCenter+" "+m.look.Fleet]
	v.check("A6", c.line, ok, "%s is changed, and belongs to no fleet of this run", c.on())
	if !ok {
		return
	}
	v.checkClaim(l, c, m, f)
	switch c.Method {
	case "ShutdownGuest", "PowerOffVM_Task", "Destroy_Task":
		v.checkUp(c, m, f)
	}
	switch {
	case c.retires(m):
		v.checkRetired(c, m, f)
	case c.releases() && m.down:
		v.checkGate(c, m)
	}
}

// checkFresh is D8. A changeVersion that vCenter compares makes a read good enough that was sent during a call whose end
// nobody saw; and so does the same call again.
func (v *verifier) checkFresh(c *call, m *vm) {
	if m.look == nil || m.failed {
		v.check("D8", c.line, false, "%s of %s follows no whole read of it", c.Method, c.on())
		return
	}
	after := m.line > m.ended && m.open == nil
	if m.open != nil && m.look.During == m.open.line {
		after = c.ChangeVersion != "" || m.open.Method == c.Method
	}
	v.check("D8", c.line, after, "%s of %s follows no read since the last call on it ended", c.Method, c.on())
	if c.Method == "ReconfigVM_Task" {
		v.check("D8", c.line, c.ChangeVersion != "" && c.ChangeVersion == m.look.ChangeVersion,
			"%s is changed under changeVersion %q, it was read under %q (line %d)", c.on(), c.ChangeVersion, m.look.ChangeVersion, m.line)
	}
}

// checkIdle is A9, as far as a call shows by itself that it changes nothing.
func (v *verifier) checkIdle(c *call, m *vm) {
	switch c.Method {
	case "PowerOnVM_Task":
		v.check("A9", c.line, m.look.Power != "poweredOn", "%s is powered on, and was on", c.on())
	case "PowerOffVM_Task", "ShutdownGuest":
		v.check("A9", c.line, m.look.Power != "poweredOff", "%s is shut down, and was off", c.on())
	case "ReconfigVM_Task":
		v.check("A9", c.line, !c.idle(m), "%s is changed to what it was", c.on())
	}
}

// idle tells whether a change writes only what is there. Where the journal has no values it is taken for a change.
func (c *call) idle(m *vm) bool {
	for _, f := range c.Fields {
		if !slices.Contains([]string{"ChangeVersion", "ExtraConfig", "DeviceChange"}, f) {
			return false
		}
	}
	for _, k := range c.Extra {
		if !slices.Contains([]string{recordKey, tokenKey}, k.Key) {
			return false
		}
	}
	for _, d := range c.Devices {
		if d.Kind != "VirtualCdrom" || d.Path != m.look.ISO {
			return false
		}
	}
	return c.Record != nil && m.look.Record != nil && same(c.Record, m.look.Record)
}

func same(a, b *Record) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	return xerr == nil && yerr == nil && string(x) == string(y)
}

// checkClaim is A6: the record that was read names this run, or the call is the claim of a VM that is free.
func (v *verifier) checkClaim(l Line, c *call, m *vm, f Fleet) {
	was := m.read()
	if c.Method == "ReconfigVM_Task" {
		v.check("A6", c.line, c.ChangeVersion != "", "%s is changed without changeVersion", c.on())
	}
	r := c.Record
	mine := was.Owner == f.Claimer
	switch command := v.out.Head.Command; {
	case command == pauseCommand: // it takes no claim, so that it reaches a VM that another run holds
		v.check("A6", c.line, c.pauses(m), "%s of %s is more than a pause", c.Method, c.on())
		return
	case command == forgetCommand && c.forgets():
		v.check("A6", c.line, mine && c.only(ownerKey, recordKey, tokenKey), "%s is forgotten, whose claim %q holds, or is changed beside", c.on(), was.Owner)
		return
	}
	if r == nil {
		v.check("A6", c.line, mine, "%s of %s, whose claim %q holds", c.Method, c.on(), was.Owner)
		return
	}
	free := was.Owner == "" || mine || !was.Expires.After(l.Time)
	switch {
	case c.marks(m):
		v.check("A6", c.line, free, "%s is marked, and %s holds it until %s", c.on(), was.Owner, was.Expires)
	case r.Owner == f.Claimer && mine:
		v.check("A6", c.line, r.Epoch == was.Epoch || r.Epoch == was.Epoch+1, "the epoch of %s becomes %d, and was %d", c.on(), r.Epoch, was.Epoch)
	case r.Owner == f.Claimer:
		v.check("A6", c.line, free, "%s is claimed, and %s holds it until %s", c.on(), was.Owner, was.Expires)
		v.check("A6", c.line, r.Epoch == was.Epoch+1, "the epoch of %s becomes %d, and was %d", c.on(), r.Epoch, was.Epoch)
	case r.Owner == "":
		v.check("A6", c.line, mine || was.Owner == "" && r.Failed != "", "the claim of %s is ended, which %q holds", c.on(), was.Owner)
		v.check("A6", c.line, r.Epoch == was.Epoch, "the epoch of %s becomes %d, and was %d", c.on(), r.Epoch, was.Epoch)
	default:
		v.check("A6", c.line, false, "%s is claimed for %s", c.on(), r.Owner)
	}
}

// checkAdoption is A6 and D5 for a VM that is given to a fleet: it is nobody's, and what its record names it has.
func (v *verifier) checkAdoption(l Line, c *call, m *vm) {
	_, begun := v.fleets[c.Target.VCenter+" "+c.fleet()]
	v.check("A6", c.line, v.out.Head.Command == adoptCommand && begun, "%s is given to fleet %q", c.on(), c.fleet())
	was := m.look.Record
	free := was == nil || was.Owner == "" || !was.Expires.After(l.Time)
	v.check("A6", c.line, m.look.Fleet == "" && free, "%s is given away, and is fleet %q's", c.on(), m.look.Fleet)
	v.check("A6", c.line, len(c.Devices) == 0, "%s is given away and changed", c.on())
	v.check("A6", c.line, c.Record != nil && c.Record.Owner == "", "%s is given away without a record, or claimed", c.on())
	if c.Record == nil {
		return
	}
	for _, d := range c.Record.Disks {
		v.check("D5", c.line, m.holds(canonical(d.UUID)), "the new record of %s names disk %s (%s), which it has not", c.on(), d.Name, d.Path)
	}
}

// checkUp is A1: with this VM gone, enough others serve, in whichever vCenter of the fleet. One that did not serve anyhow
// makes no difference.
func (v *verifier) checkUp(c *call, m *vm, f Fleet) {
	if !m.serves() {
		return
	}
	others := 0
	for _, o := range v.vms {
		if o != m && v.member(o, f) && o.serves() {
			others++
		}
	}
	v.check("A1", c.line, others >= len(f.VMs)-f.MaxUnavailable, "%s is taken down while %d others of %d serve, and max_unavailable is %d",
		c.on(), others, len(f.VMs), f.MaxUnavailable)
}

// member tells whether a VM is one of the fleet, which may have VMs in several vCenters.
func (v *verifier) member(m *vm, f Fleet) bool {
	if m.look == nil || m.look.Fleet != f.Name {
		return false
	}
	_, begun := v.fleets[m.look.VM.VCenter+" "+f.Name]
	return begun
}

// serves tells whether a VM ran and its guest had proved the boot that its record is about, when it was last seen.
func (m *vm) serves() bool { return !m.down && !m.gone && m.look != nil && m.look.proved() }

// proved tells whether a look shows a guest that runs what the record says, since the swap that the record is about.
func (l *Look) proved() bool {
	g, r := l.Guest, l.Record
	return l.Power == "poweredOn" && g != nil && r != nil && g.State == "running" && g.Token == r.Token && g.ImageID == r.ImageID
}

// checkGate is A4.
func (v *verifier) checkGate(c *call, m *vm) {
	v.check("A4", c.line, m.look.proved(), "the roll of %s ends, and its guest has not proved this boot (line %d)", c.on(), m.line)
}

// checkRetired is A4 for a VM that goes: it is off, and whoever takes its place has proved its boot. Only one whose place
// nobody wants goes without a successor. A replacement that failed and was retired takes nobody's place any more.
func (v *verifier) checkRetired(c *call, m *vm, f Fleet) {
	v.check("A4", c.line, m.look.Power == "poweredOff", "%s is retired, and is %s", c.on(), m.look.Power)
	heirs := 0
	for _, o := range v.vms {
		if o == m || o.gone || o.look == nil || o.record == nil || o.record.Replaces == "" || o.record.Replaces != m.look.VM.ID || !o.record.Retired.IsZero() {
			continue
		}
		heirs++
		v.check("A4", c.line, o.serves(), "%s is retired, and the guest of %s, which takes its place, has not proved its boot (line %d)", c.on(), nameOf(o), o.line)
	}
	v.check("A4", c.line, heirs > 0 || !slices.Contains(f.VMs, m.look.VM.Name), "%s is retired, which is wanted, and nothing takes its place", c.on())
}

// checkCount is A2. Retired VMs do not count, and neither do those that nobody wants any more and this run found.
func (v *verifier) checkCount(c *call) {
	f, ok := v.fleets[c.Target.VCenter+" "+c.fleet()]
	if !ok {
		return
	}
	there := 1 + len(v.created[f.Name])
	for _, m := range v.vms {
		if !v.member(m, f) || m.gone || m.record != nil && !m.record.Retired.IsZero() {
			continue
		}
		if m.born || slices.Contains(f.VMs, m.look.VM.Name) || m.record != nil && m.record.Replaces != "" {
			there++
		}
	}
	v.check("A2", c.line, there <= len(f.VMs)+f.Surge, "%s is made, and then there are %d VMs; wanted are %d, surge is %d", c.Name, there, len(f.VMs), f.Surge)
}

// fleet is whose VM a call makes, or makes of a VM.
func (c *call) fleet() string {
	var own struct {
		Fleet string `json:"fleet"`
	}
	if raw, _ := c.value(ownerKey); json.Unmarshal([]byte(raw), &own) != nil {
		return ""
	}
	return own.Fleet
}
