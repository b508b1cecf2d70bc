package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Many is one fleet whose VMs are placed in several vCenters, as an observer and executor. It looks at all of them or
// at none: one that cannot be read may have any VM and any disk.
//
// VMs are told apart by name, so a name that two vCenters have is refused (R22). "[datastore] path" says nothing about
// the vCenter, so a disk file counts only in the vCenter that its VM is in or placed in: in any other one it only says
// that the disk was made once (R06, never a second one), and in both it is there twice (R06). Whether another VM has
// such a file, by its path or its UUID, is asked across all of them.
//
// A vCenter that no placement names may have been in them once. It is looked at for what the fleet left there: VMs whose
// record names the fleet, and disks. One that cannot be read stops nothing but the making of disks.
//
// Not supported: moving a VM from one vCenter to another (R06).
type Many struct {
	fleets  map[string]*Fleet // by the name that placements give their vCenter
	besides map[string]Beside // that no placement names

	mu sync.Mutex
	at map[string][]string // vCenters in which a VM was seen last, by fleet and name, and by instance UUID
}

// Beside is a vCenter that no placement of a fleet names.
type Beside struct {
	Fleet *Fleet // nil when it cannot be reached
	Err   error  // then why
}

// NewMany returns one fleet's observer and executor, from those of its vCenters by the name that placements have for
// them, and those of other vCenters. Each must have that name in its FleetConfig. Another name for the vCenter of a
// placement, and what is a host and no vCenter, is left out.
func NewMany(fleets map[string]*Fleet, besides map[string]Beside) (*Many, error) {
	if len(fleets) == 0 {
		return nil, errors.New("a fleet of several vCenters: it has none")
	}
	m := &Many{fleets: maps.Clone(fleets), besides: map[string]Beside{}, at: map[string][]string{}}
	seen := map[string]bool{"": true}
	for name, f := range fleets {
		if name == "" || f.cfg.VCenter != name {
			return nil, fmt.Errorf("a fleet of several vCenters: %q calls itself %q", name, f.cfg.VCenter)
		}
		seen[f.c.ID()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(besides)) {
		b := besides[name]
		switch {
		case name == "" || fleets[name] != nil || (b.Fleet == nil) == (b.Err == nil) || b.Fleet != nil && b.Fleet.cfg.VCenter != name:
			return nil, fmt.Errorf("a fleet of several vCenters: %q is in it twice, or neither reached nor not", name)
		case b.Fleet == nil:
			m.besides[name] = b
		case !seen[b.Fleet.c.ID()]:
			seen[b.Fleet.c.ID()] = true
			m.besides[name] = b
		}
	}
	return m, nil
}

// names are those of every vCenter that can be reached.
func (m *Many) names() []string {
	names := slices.Collect(maps.Keys(m.fleets))
	for name, b := range m.besides {
		if b.Fleet != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (m *Many) fleet(name string) *Fleet {
	if f := m.fleets[name]; f != nil {
		return f
	}
	return m.besides[name].Fleet
}

// Observe takes one complete look at every vCenter, at the same time, and puts them together. When one that a placement
// names cannot be read, Problem says so and nothing else is to be believed.
func (m *Many) Observe(ctx context.Context, desired plan.Desired) (plan.Observed, error) {
	all, failed, err := m.looks(ctx, desired, false)
	if failed.Problem == "" && err == nil && incomplete(desired, all.looks) {
		all, failed, err = m.looks(ctx, desired, true)
	}
	if failed.Problem != "" || err != nil {
		return failed, err
	}
	m.remember(desired.Fleet, all.names, all.looks)
	out := joined(desired, all.names, all.looks)
	out.Hidden = append(out.Hidden, all.hidden...)
	return out, nil
}

// incomplete tells whether a wanted VM is missing, so that files matter in every vCenter: one whose own VMs are all
// there lists none by itself.
func incomplete(desired plan.Desired, looks []plan.Observed) bool {
	return slices.ContainsFunc(desired.VMs, func(w plan.WantVM) bool {
		return !slices.ContainsFunc(looks, func(o plan.Observed) bool {
			return slices.ContainsFunc(o.VMs, func(v plan.VM) bool { return v.Name == w.Name && v.Fleet == desired.Fleet })
		})
	})
}

// panorama are looks at several vCenters, and those that could not be looked at and need not be.
type panorama struct {
	names  []string
	looks  []plan.Observed
	hidden []plan.Hidden
}

// looks looks at every vCenter. The second result says why they are not to be believed.
func (m *Many) looks(ctx context.Context, desired plan.Desired, allFiles bool) (panorama, plan.Observed, error) {
	names := m.names()
	looks, errs := make([]plan.Observed, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		f := m.fleet(name)
		wg.Go(func() { looks[i], errs[i] = f.observe(ctx, desired, allFiles || f.cfg.AllFiles) })
	}
	wg.Wait()
	all := panorama{hidden: m.unreached()}
	for i, name := range names {
		o := looks[i]
		switch {
		case errs[i] != nil:
			return all, plan.Observed{Problem: fmt.Sprintf("vCenter %s: %v", name, errs[i])}, errs[i]
		case o.Problem != "" && m.fleets[name] != nil:
			return all, plan.Observed{Problem: fmt.Sprintf("vCenter %s: %s", name, o.Problem), Denied: o.Denied}, nil
		case o.Problem != "":
			all.hidden = append(all.hidden, plan.Hidden{VCenter: name, Why: o.Problem})
			continue
		case m.fleets[name] == nil:
			o = leftIn(o, desired)
		}
		all.names, all.looks = append(all.names, name), append(all.looks, o)
	}
	return all, plan.Observed{}, nil
}

// unreached are the vCenters that there is no session with.
func (m *Many) unreached() (out []plan.Hidden) {
	for _, name := range slices.Sorted(maps.Keys(m.besides)) {
		if err := m.besides[name].Err; err != nil {
			out = append(out, plan.Hidden{VCenter: name, Why: err.Error()})
		}
	}
	return out
}

// leftIn is what a look at a vCenter that no placement names means to the fleet. Others may use its names there, unless
// they have one of its disks.
func leftIn(o plan.Observed, desired plan.Desired) plan.Observed {
	disks := map[string]bool{}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			disks[d.UUID] = disks[d.UUID] || v.Fleet == desired.Fleet
		}
	}
	for _, f := range o.Files {
		disks[f.UUID] = true
	}
	o.VMs = slices.DeleteFunc(slices.Clone(o.VMs), func(v plan.VM) bool {
		return v.Fleet != desired.Fleet && !slices.ContainsFunc(v.Disks, func(d plan.Disk) bool { return disks[d.UUID] })
	})
	return o
}

// remember keeps where VMs were seen.
func (m *Many) remember(fleet string, names []string, looks []plan.Observed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.at)
	for i, o := range looks {
		for _, v := range o.VMs {
			for _, key := range []string{fleet + "/" + v.Name, v.ID} {
				if !slices.Contains(m.at[key], names[i]) {
					m.at[key] = append(m.at[key], names[i])
				}
			}
		}
	}
	delete(m.at, "")
}

// joined puts looks at several vCenters together.
func joined(desired plan.Desired, names []string, looks []plan.Observed) plan.Observed {
	var out plan.Observed
	for i, o := range looks {
		for _, v := range o.VMs {
			v.Ref, v.VCenter = names[i]+"/"+v.Ref, names[i] // two vCenters give the same references
			out.VMs = append(out.VMs, v)
		}
		out.Hidden = append(out.Hidden, o.Hidden...)
		out.Made = append(out.Made, o.Made...)
		for _, file := range o.Files {
			_, rest, _ := strings.Cut(file.Path, "] ")
			if counts(desired, names, looks, i, rest) {
				out.Files = append(out.Files, file)
			} else {
				out.Made = append(out.Made, rest)
			}
		}
	}
	slices.SortStableFunc(out.VMs, func(a, b plan.VM) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Files, func(a, b plan.DiskFile) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.UUID, b.UUID))
	})
	out.Made = merged(out.Made, nil)
	return out
}

// counts tells whether a file of vCenter i may be used: its VM is there or placed there, or it has none that is placed
// elsewhere. One that the VM's own vCenter has as well counts, so that it is seen to be there twice.
func counts(desired plan.Desired, names []string, looks []plan.Observed, i int, rest string) bool {
	for _, w := range desired.VMs {
		if w.Place.VCenter == names[i] || !diskOfVM(desired.Fleet, w, rest) {
			continue
		}
		there := slices.ContainsFunc(looks[i].VMs, func(v plan.VM) bool { return v.Fleet == desired.Fleet && v.Ordinal == w.Ordinal })
		own := slices.Index(names, w.Place.VCenter)
		twice := own >= 0 && slices.ContainsFunc(looks[own].Files, func(f plan.DiskFile) bool { return strings.HasSuffix(f.Path, "] "+rest) })
		return there || twice
	}
	return true
}

// diskOfVM tells whether a path is that of a data disk of the VM, of whatever generation.
func diskOfVM(fleet string, w plan.WantVM, rest string) bool {
	return slices.ContainsFunc(w.Disks, func(d plan.WantDisk) bool {
		_, first, _ := strings.Cut(plan.DiskPath(fleet, w, d), "] ")
		base := strings.TrimSuffix(first, path.Ext(first))
		return rest == first || strings.HasPrefix(rest, base+"-g")
	})
}

// Execute carries out one step where the VM was seen, or where it is placed when it is to be made.
func (m *Many) Execute(ctx context.Context, step plan.Step, desired plan.Desired) error {
	name, err := m.route(step, desired)
	if err != nil {
		return err
	}
	f := m.fleet(name)
	if f == nil {
		return fmt.Errorf("VM %s is placed in vCenter %q, which the fleet does not have", step.VM(), name)
	}
	if err := m.nowhereElse(ctx, name, step, desired); err != nil {
		return err
	}
	if err := f.Execute(ctx, step, desired); err != nil {
		return err
	}
	m.follow(name, step, desired)
	return nil
}

// route says which vCenter a step is for.
func (m *Many) route(step plan.Step, desired plan.Desired) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s := step.(type) {
	case plan.CreateDisk:
		return s.Place.VCenter, nil
	case plan.CreateVM:
		if at := m.at[s.Record.Replaces]; s.Record.Replaces != "" && !slices.Equal(at, []string{s.Want.Place.VCenter}) {
			return "", plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("the VM that it is to replace is in vCenter %s, and its place is in %s now", strings.Join(at, ", "), s.Want.Place.VCenter),
				Clear: "give the fleet's placements the order back that they had: a VM and its disks do not move from one vCenter to another"}
		}
		return s.Want.Place.VCenter, nil
	}
	switch at := m.at[desired.Fleet+"/"+step.VM()]; len(at) {
	case 0:
		return "", fmt.Errorf("%w: VM %s was seen in no vCenter", ErrChanged, step.VM())
	case 1:
		return at[0], nil
	default:
		return "", plan.Blocked{VM: step.VM(), Code: plan.R22, Reason: "vCenters " + strings.Join(at, " and ") + " have a VM of this name",
			Clear: "rename the one that does not belong to the fleet"}
	}
}

// nowhereElse proves, before a disk or a VM is made, that no other vCenter has it (D7): what was seen last may be old.
func (m *Many) nowhereElse(ctx context.Context, here string, step plan.Step, desired plan.Desired) error {
	if s, ok := step.(plan.CreateDisk); ok {
		if b := plan.Unseen(m.unreached(), s.VM(), s.Place, s.Disk); b != nil {
			return *b
		}
	}
	for _, name := range m.names() {
		if name == here {
			continue
		}
		var err error
		switch s := step.(type) {
		case plan.CreateDisk:
			err = m.fleet(name).neverExisted(ctx, s, desired)
		case plan.CreateVM:
			err = m.fleet(name).nobodyNamed(ctx, s, desired, m.fleets[name] == nil)
		}
		var b plan.Blocked
		if errors.As(err, &b) {
			b.Reason = "vCenter " + name + ": " + b.Reason
			return b
		}
		if err != nil {
			return fmt.Errorf("vCenter %s: %w", name, err)
		}
	}
	return nil
}

// nobodyNamed refuses to make a VM of whose name or place this vCenter has one already. The VM that it replaces has its
// place rightfully. With left, only VMs of the fleet count.
func (f *Fleet) nobodyNamed(ctx context.Context, s plan.CreateVM, desired plan.Desired, left bool) error {
	list, err := f.rivals(ctx, s, desired)
	if left {
		list = slices.DeleteFunc(list, func(v sighted) bool { return v.vm.Fleet != desired.Fleet })
	}
	if err != nil || len(list) == 0 {
		return err
	}
	return f.nameTaken(s, "VM "+list[0].vm.Ref)
}

// follow notes where a VM is that the step made or renamed.
func (m *Many) follow(vcenter string, step plan.Step, desired plan.Desired) {
	var to string
	switch s := step.(type) {
	case plan.CreateVM:
		to = s.VM()
	case plan.Rename:
		to = s.To
	case plan.Retire:
		to = s.To
	case plan.Adopt:
		to = s.To
	default:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if to != step.VM() {
		delete(m.at, desired.Fleet+"/"+step.VM())
	}
	m.at[desired.Fleet+"/"+to] = []string{vcenter}
}

// Journal begins the fleet in a journal, once for every vCenter, as Fleet.Journal does.
func (m *Many) Journal(w *journal.Writer, about journal.Fleet) error {
	var all []*recorder
	for _, name := range m.names() {
		f := m.fleet(name)
		if err := f.Journal(w, about); err != nil {
			return fmt.Errorf("vCenter %s: %w", name, err)
		}
		all = append(all, f.c.gate.log.Load())
	}
	for i, r := range all {
		r.besides(slices.Concat(all[:i], all[i+1:]))
	}
	return nil
}
